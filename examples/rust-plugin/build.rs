//! Makes Rust constants of include/seam/sizes.h, which the declarations in src/seam.rs are compared with. SEAM_INCLUDE
//! names the folder that holds seam/, where it is not that of the repository.

use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let beside = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../include");
    let include = env::var_os("SEAM_INCLUDE").map_or(beside, PathBuf::from);
    let header = include.join("seam/sizes.h");
    let text = fs::read_to_string(&header).unwrap_or_else(|error| panic!("{}: {}", header.display(), error));

    let mut source = String::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        if let (Some("#define"), Some(name), Some(value)) = (words.next(), words.next(), words.next()) {
            writeln!(source, "pub const {}: usize = {};", name, value.trim_end_matches('u')).unwrap();
        }
    }
    fs::write(PathBuf::from(env::var("OUT_DIR").unwrap()).join("sizes.rs"), source).unwrap();
    println!("cargo:rerun-if-changed={}", header.display());
    println!("cargo:rerun-if-env-changed=SEAM_INCLUDE");
}
