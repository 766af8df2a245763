//! A whole SeamKit plugin in Rust: the adapter "scale-shift-rust", which does what examples/c-plugin does in C. It
//! multiplies the encoder's output by a learned number per feature and adds another, and starts as the identity.
//!
//! What every adapter does is here, in the order in which the host asks for it: describe itself, be made for a place in
//! a backbone, name its parameters, compute. The declarations of the headers are in seam.rs.

mod seam;

use seam::*;
use std::os::raw::{c_char, c_void};
use std::ptr;

/// A C string of a literal.
macro_rules! text {
    ($literal:expr) => {
        concat!($literal, "\0").as_ptr() as *const c_char
    };
}

/// What one attached adapter remembers: how wide the backbone's hidden states are.
struct ScaleShift {
    width: i64,
}

/// The two parameters, in the order in which `forward` finds them. The host allocates, fills, trains and saves them.
const SCALE: usize = 0;
const SHIFT: usize = 1;

unsafe extern "C" fn create(
    _host: *const seam_host,
    _options: *mut seam_config,
    site: *const seam_site,
    instance: *mut *mut c_void,
    _error: *mut *mut seam_error,
) -> seam_status {
    let width = (*(*site).backbone).d_model;
    *instance = Box::into_raw(Box::new(ScaleShift { width })) as *mut c_void;
    SEAM_OK
}

unsafe extern "C" fn destroy(instance: *mut c_void) {
    drop(Box::from_raw(instance as *mut ScaleShift));
}

unsafe extern "C" fn parameter_count(_instance: *mut c_void) -> usize {
    2
}

/// The host has set every member to its default; what is written here lies within version 1.0's struct.
unsafe extern "C" fn parameter(instance: *mut c_void, index: usize, out: *mut seam_parameter) {
    (*out).name = if index == SCALE { text!("scale") } else { text!("shift") };
    (*out).rank = 1;
    (*out).shape[0] = (*(instance as *const ScaleShift)).width;
    (*out).init = if index == SCALE { SEAM_INIT_ONES } else { SEAM_INIT_ZEROS };
}

/// hidden * scale + shift. Nothing is checked and nothing is freed: a failed operation gives NULL, later ones pass it
/// on, and the host reports the first failure and releases every tensor.
unsafe extern "C" fn forward(_instance: *mut c_void, pass: *const seam_pass, io: *mut seam_forward) {
    let (ops, ctx) = (&*(*pass).ops, (*pass).ctx);
    let hidden = *(*io).inputs.add(SEAM_ENCODER_OUTPUT_HIDDEN);
    let scaled = (ops.mul)(ctx, hidden, *(*pass).parameters.add(SCALE));
    *(*io).outputs = (ops.add)(ctx, scaled, *(*pass).parameters.add(SHIFT));
}

/// A method of the adapter's own, which users call by its name: how far it is from the identity.
unsafe extern "C" fn distance(_instance: *mut c_void, pass: *const seam_pass) -> *mut seam_tensor {
    let (ops, ctx) = (&*(*pass).ops, (*pass).ctx);
    let scale = (ops.square)(ctx, (ops.affine)(ctx, *(*pass).parameters.add(SCALE), 1.0, -1.0));
    let shift = (ops.square)(ctx, *(*pass).parameters.add(SHIFT));
    (ops.sqrt)(ctx, (ops.sum)(ctx, (ops.add)(ctx, scale, shift), 0, 0))
}

static DISTANCE: seam_method = seam_method {
    struct_size: SEAM_METHOD_SIZE_1_0 as u32,
    flags: 0,
    name: text!("distance"),
    signature: text!("seam_tensor *(void *, const seam_pass *)"),
    doc: text!("Euclidean distance of scale and shift from the identity."),
    function: distance as *const c_void,
};

static SEAMS: List<c_char, 1> = List([text!("encoder.output")]);
static METHODS: List<seam_method, 1> = List([&DISTANCE]);

static FACTORY: seam_adapter_factory = seam_adapter_factory {
    struct_size: SEAM_ADAPTER_FACTORY_SIZE_1_0 as u32,
    reads_prompts: 0,
    id: text!("scale-shift-rust"),
    summary: text!("A learned scale and shift per feature of the encoder's output, in Rust."),
    seams: SEAMS.0.as_ptr(),
    seam_count: 1,
    options: ptr::null(),
    option_count: 0,
    methods: METHODS.0.as_ptr(),
    method_count: 1,
    create,
    destroy,
    parameter_count,
    parameter,
    forward,
    prepare: None,
    fold: None,
    default_targets: ptr::null(),
    phases: None,
    fold_weight: None,
};

static ADAPTERS: List<seam_adapter_factory, 1> = List([&FACTORY]);

static PLUGIN: seam_plugin = seam_plugin {
    struct_size: SEAM_PLUGIN_SIZE_1_0 as u32,
    abi_major: SEAM_ABI_MAJOR,
    abi_minor: SEAM_ABI_MINOR,
    id: text!("org.seamkit.example.scale-shift-rust"),
    version: text!("1.0.0"),
    license: text!("Apache-2.0"),
    summary: text!("The example of a plugin in Rust."),
    adapters: ADAPTERS.0.as_ptr(),
    adapter_count: 1,
    backbones: ptr::null(),
    backbone_count: 0,
    requirements: ptr::null(),
    extension: None,
};

/// The one symbol that the library exports.
#[no_mangle]
pub extern "C" fn seam_plugin_entry() -> *const seam_plugin {
    &PLUGIN
}
