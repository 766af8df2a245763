//! What this plugin uses of include/seam, declared by hand: the structs of version 1.0, member by member, whose sizes
//! are compared with include/seam/sizes.h when this is compiled. The comments in the headers say what everything means.
//!
//! Types have their names of C. Pointers that may be NULL are raw pointers or, for functions, Option.

#![allow(non_camel_case_types, dead_code)]

use std::mem::size_of;
use std::os::raw::{c_char, c_void};

include!(concat!(env!("OUT_DIR"), "/sizes.rs"));

pub const SEAM_ABI_MAJOR: u32 = 1;
pub const SEAM_ABI_MINOR: u32 = 0;
pub const SEAM_MAX_RANK: usize = 8;
pub const SEAM_PREFIX_ATTENTIONS: usize = 3;

pub type seam_status = i32;
pub const SEAM_OK: seam_status = 0;
pub type seam_init = i32;
pub const SEAM_INIT_ZEROS: seam_init = 0;
pub const SEAM_INIT_ONES: seam_init = 1;
pub const SEAM_ENCODER_OUTPUT_HIDDEN: usize = 0;

/// Types that are seen as pointers only.
macro_rules! opaque {
    ($($name:ident),*) => {
        $(#[repr(C)]
        pub struct $name {
            _private: [u8; 0],
        })*
    };
}
opaque!(seam_error, seam_config, seam_model, seam_context, seam_tensor, seam_buffer, seam_point);
opaque!(seam_option, seam_prepare, seam_fold, seam_fold_weight, seam_backbone_factory, seam_requirements);
opaque!(DLManagedTensorVersioned);

/// A constant array of pointers, as the tables have them.
#[repr(transparent)]
pub struct List<T: 'static, const N: usize>(pub [*const T; N]);

// Tables are constant and may be read from any thread.
unsafe impl<T, const N: usize> Sync for List<T, N> {}
unsafe impl Sync for seam_method {}
unsafe impl Sync for seam_adapter_factory {}
unsafe impl Sync for seam_plugin {}

// ---- ops.h

type Ctx = *mut seam_context;
type Tensor = *mut seam_tensor;
type Unary = unsafe extern "C" fn(Ctx, Tensor) -> Tensor;
type Binary = unsafe extern "C" fn(Ctx, Tensor, Tensor) -> Tensor;
type Ternary = unsafe extern "C" fn(Ctx, Tensor, Tensor, Tensor) -> Tensor;
type Reduction = unsafe extern "C" fn(Ctx, Tensor, i32, i32) -> Tensor;
type Shape = unsafe extern "C" fn(Ctx, Tensor, *const i64, i32) -> Tensor;

#[repr(C)]
pub struct seam_prefix {
    pub struct_size: u32,
    pub route_count: u32,
    pub keys_values: *const Tensor,
    pub routes: *const i32,
    pub row_count: usize,
}

#[repr(C)]
pub struct seam_ops {
    pub struct_size: u32,
    pub abi_major: u32,
    pub abi_minor: u32,
    pub engine: *mut c_void,

    pub status: unsafe extern "C" fn(Ctx) -> seam_status,
    pub fail: unsafe extern "C" fn(Ctx, seam_status, *const c_char) -> Tensor,
    pub rank: unsafe extern "C" fn(Ctx, *const seam_tensor) -> i32,
    pub size: unsafe extern "C" fn(Ctx, *const seam_tensor, i32) -> i64,
    pub dtype: unsafe extern "C" fn(Ctx, *const seam_tensor) -> i32,
    pub scope_begin: unsafe extern "C" fn(Ctx),
    pub scope_end: unsafe extern "C" fn(Ctx, *const Tensor, usize),

    pub constant_f32: unsafe extern "C" fn(Ctx, *const f32, *const i64, i32) -> Tensor,
    pub constant_i32: unsafe extern "C" fn(Ctx, *const i32, *const i64, i32) -> Tensor,
    pub full: unsafe extern "C" fn(Ctx, f64, i32, *const i64, i32) -> Tensor,
    pub from_dlpack: unsafe extern "C" fn(Ctx, *mut DLManagedTensorVersioned) -> Tensor,
    pub to_dlpack: unsafe extern "C" fn(Ctx, Tensor) -> *mut DLManagedTensorVersioned,
    pub stop_gradient: Unary,
    pub cast: unsafe extern "C" fn(Ctx, Tensor, i32) -> Tensor,

    pub add: Binary,
    pub sub: Binary,
    pub mul: Binary,
    pub div: Binary,
    pub maximum: Binary,
    pub minimum: Binary,
    pub affine: unsafe extern "C" fn(Ctx, Tensor, f64, f64) -> Tensor,
    pub r#where: Ternary,
    pub neg: Unary,
    pub exp: Unary,
    pub log: Unary,
    pub sqrt: Unary,
    pub rsqrt: Unary,
    pub square: Unary,
    pub abs: Unary,
    pub reciprocal: Unary,
    pub tanh: Unary,
    pub sigmoid: Unary,
    pub relu: Unary,
    pub gelu: Unary,
    pub gelu_tanh: Unary,
    pub silu: Unary,
    pub dropout: unsafe extern "C" fn(Ctx, Tensor, f64) -> Tensor,

    pub matmul: unsafe extern "C" fn(Ctx, Tensor, Tensor, i32, i32) -> Tensor,
    pub linear: Ternary,
    pub linear_low_rank: unsafe extern "C" fn(Ctx, Tensor, Tensor, Tensor, Tensor, f64) -> Tensor,
    pub attention: unsafe extern "C" fn(Ctx, Tensor, Tensor, Tensor, Tensor, Tensor, f64, i32) -> Tensor,
    pub attention_with_prefix: unsafe extern "C" fn(
        Ctx, Tensor, Tensor, Tensor, *const seam_prefix, *const Tensor, Tensor, Tensor, f64, i32,
    ) -> Tensor,
    pub rotary: Ternary,

    pub softmax: unsafe extern "C" fn(Ctx, Tensor, i32) -> Tensor,
    pub log_softmax: unsafe extern "C" fn(Ctx, Tensor, i32) -> Tensor,
    pub layer_norm: unsafe extern "C" fn(Ctx, Tensor, Tensor, Tensor, f64) -> Tensor,
    pub rms_norm: unsafe extern "C" fn(Ctx, Tensor, Tensor, f64) -> Tensor,
    pub l2_normalize: unsafe extern "C" fn(Ctx, Tensor, f64) -> Tensor,

    pub sum: Reduction,
    pub mean: Reduction,
    pub max: Reduction,
    pub argmax: Reduction,

    pub reshape: Shape,
    pub permute: unsafe extern "C" fn(Ctx, Tensor, *const i32, i32) -> Tensor,
    pub expand: Shape,
    pub concat: unsafe extern "C" fn(Ctx, *const Tensor, usize, i32) -> Tensor,
    pub slice: unsafe extern "C" fn(Ctx, Tensor, i32, i64, i64) -> Tensor,

    pub embedding: Binary,
    pub index_select: unsafe extern "C" fn(Ctx, Tensor, i32, Tensor) -> Tensor,
    pub gather: unsafe extern "C" fn(Ctx, Tensor, i32, Tensor) -> Tensor,

    pub cross_entropy: unsafe extern "C" fn(Ctx, Tensor, Tensor, i32, f64, i32) -> Tensor,

    pub buffer_create: unsafe extern "C" fn(Ctx, i32, *const i64, i32) -> *mut seam_buffer,
    pub buffer_release: unsafe extern "C" fn(*mut seam_buffer),
    pub buffer_write: unsafe extern "C" fn(Ctx, *mut seam_buffer, i32, i64, Tensor) -> seam_status,
    pub buffer_write_rows:
        unsafe extern "C" fn(Ctx, *mut seam_buffer, i32, *const i64, i64, Tensor) -> seam_status,
    pub buffer_read: unsafe extern "C" fn(Ctx, *mut seam_buffer, i32, i64) -> Tensor,
    pub buffer_select: unsafe extern "C" fn(Ctx, *mut seam_buffer, *const i32, i64) -> seam_status,
    pub buffer_append: unsafe extern "C" fn(Ctx, *mut seam_buffer, i32, *mut seam_buffer) -> seam_status,
}

// ---- plugin.h: what the host gives

type Text = *const c_char;
type Read<T> = unsafe extern "C" fn(*const seam_config, Text, *mut T) -> seam_status;

#[repr(C)]
pub struct seam_host {
    pub struct_size: u32,
    pub abi_major: u32,
    pub abi_minor: u32,
    pub runtime: *mut c_void,
    pub set_error: unsafe extern "C" fn(*mut *mut seam_error, seam_status, Text) -> seam_status,
    pub log: unsafe extern "C" fn(*const seam_host, i32, Text),
    pub config_bool: Read<i32>,
    pub config_int: Read<i64>,
    pub config_double: Read<f64>,
    pub config_string: Read<Text>,
    pub config_count: Read<i64>,
    pub config_json: Read<Text>,
    pub config_set_string: unsafe extern "C" fn(*mut seam_config, Text, Text) -> seam_status,
    pub model_config: unsafe extern "C" fn(*const seam_model) -> *const seam_config,
    pub model_tensor: unsafe extern "C" fn(*const seam_model, Text, *mut i64, *mut i32) -> seam_status,
    pub extension: unsafe extern "C" fn(*const seam_host, Text) -> *const c_void,
}

#[repr(C)]
pub struct seam_pass {
    pub struct_size: u32,
    pub training: i32,
    pub ctx: Ctx,
    pub ops: *const seam_ops,
    pub parameters: *const Tensor,
    pub parameter_count: usize,
    pub attention_mask: Tensor,
    pub position_ids: Tensor,
    pub generated_mask: Tensor,
}

#[repr(C)]
pub struct seam_backbone_info {
    pub struct_size: u32,
    pub kind: i32,
    pub architecture: i32,
    pub has_head: i32,
    pub family: Text,
    pub identity: Text,
    pub seams: *const Text,
    pub seam_count: usize,
    pub d_model: i64,
    pub encoder_layers: i64,
    pub decoder_layers: i64,
    pub heads: i64,
    pub kv_heads: i64,
    pub head_dim: i64,
    pub max_source_positions: i64,
    pub max_target_positions: i64,
    pub vocab_size: i64,
    pub source_vocab_size: i64,
    pub decoder_start_token_id: i64,
    pub pad_token_id: i64,
    pub bos_token_id: i64,
    pub mask_token_id: i64,
    pub eos_token_ids: *const i64,
    pub eos_token_count: usize,
    pub prefix_layers: [i64; SEAM_PREFIX_ATTENTIONS],
    pub prefix_kv_heads: [*const i64; SEAM_PREFIX_ATTENTIONS],
    pub prefix_head_dim: [*const i64; SEAM_PREFIX_ATTENTIONS],
    pub max_prefix_length: [i64; SEAM_PREFIX_ATTENTIONS],
    pub points: *const *const seam_point,
    pub point_count: usize,
    pub feature_width: i64,
    pub feature_stride: i64,
    pub encodes_layer_ranges: i32,
    pub decodes_layer_ranges: i32,
}

#[repr(C)]
pub struct seam_site {
    pub struct_size: u32,
    pub backbone_frozen: i32,
    pub score_kind: i32,
    pub seam: Text,
    pub backbone: *const seam_backbone_info,
    pub classes: i64,
    pub prompts: i64,
    pub prefix_length: [i64; SEAM_PREFIX_ATTENTIONS],
    pub points: *const *const seam_point,
    pub point_count: usize,
}

#[repr(C)]
pub struct seam_forward {
    pub struct_size: u32,
    pub phase: u32,
    pub point: i64,
    pub inputs: *const Tensor,
    pub input_count: usize,
    pub outputs: *mut Tensor,
    pub output_count: usize,
}

// ---- plugin.h: what a plugin declares

#[repr(C)]
pub struct seam_parameter {
    pub struct_size: u32,
    pub flags: u32,
    pub name: Text,
    pub rank: i32,
    pub init: seam_init,
    pub shape: [i64; SEAM_MAX_RANK],
    pub a: f64,
    pub b: f64,
    pub data: *const f32,
    pub point: i64,
}

#[repr(C)]
pub struct seam_method {
    pub struct_size: u32,
    pub flags: u32,
    pub name: Text,
    pub signature: Text,
    pub doc: Text,
    /// The address of a function with the signature's type.
    pub function: *const c_void,
}

type Instance = *mut c_void;

#[repr(C)]
pub struct seam_adapter_factory {
    pub struct_size: u32,
    pub reads_prompts: i32,
    pub id: Text,
    pub summary: Text,
    pub seams: *const Text,
    pub seam_count: usize,
    pub options: *const *const seam_option,
    pub option_count: usize,
    pub methods: *const *const seam_method,
    pub method_count: usize,
    pub create: unsafe extern "C" fn(
        *const seam_host,
        *mut seam_config,
        *const seam_site,
        *mut Instance,
        *mut *mut seam_error,
    ) -> seam_status,
    pub destroy: unsafe extern "C" fn(Instance),
    pub parameter_count: unsafe extern "C" fn(Instance) -> usize,
    pub parameter: unsafe extern "C" fn(Instance, usize, *mut seam_parameter),
    pub forward: unsafe extern "C" fn(Instance, *const seam_pass, *mut seam_forward),
    pub prepare: Option<unsafe extern "C" fn(Instance, *const seam_pass, *mut seam_prepare)>,
    pub fold: Option<unsafe extern "C" fn(Instance, *const seam_pass, *mut seam_fold)>,
    pub default_targets: Text,
    pub phases: Option<unsafe extern "C" fn(Instance, usize) -> u32>,
    pub fold_weight: Option<unsafe extern "C" fn(Instance, *const seam_pass, *mut seam_fold_weight)>,
}

#[repr(C)]
pub struct seam_plugin {
    pub struct_size: u32,
    pub abi_major: u32,
    pub abi_minor: u32,
    pub id: Text,
    pub version: Text,
    pub license: Text,
    pub summary: Text,
    pub adapters: *const *const seam_adapter_factory,
    pub adapter_count: usize,
    pub backbones: *const *const seam_backbone_factory,
    pub backbone_count: usize,
    pub requirements: *const seam_requirements,
    pub extension: Option<unsafe extern "C" fn(Text) -> *const c_void>,
}

// ---- The layout: a struct of another size is an error of the compiler

macro_rules! sizes {
    ($($name:ident = $size:ident),* $(,)?) => {
        $(const _: () = assert!(size_of::<$name>() == $size);)*
    };
}
sizes! {
    seam_ops = SEAM_OPS_SIZE_1_0,
    seam_host = SEAM_HOST_SIZE_1_0,
    seam_pass = SEAM_PASS_SIZE_1_0,
    seam_backbone_info = SEAM_BACKBONE_INFO_SIZE_1_0,
    seam_site = SEAM_SITE_SIZE_1_0,
    seam_forward = SEAM_FORWARD_SIZE_1_0,
    seam_parameter = SEAM_PARAMETER_SIZE_1_0,
    seam_method = SEAM_METHOD_SIZE_1_0,
    seam_adapter_factory = SEAM_ADAPTER_FACTORY_SIZE_1_0,
    seam_plugin = SEAM_PLUGIN_SIZE_1_0,
}
