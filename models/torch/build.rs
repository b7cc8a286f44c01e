//! Tells the executable where libtorch lies when it runs.
//!
//! The search order of the loader, once built: the `LD_LIBRARY_PATH` of whoever starts it (a machine's own libtorch,
//! with CUDA), then `../lib/forecastd` beside the executable's folder (where `make install` puts the libraries), then,
//! in debug builds alone, the folder it was linked against, so that `cargo test` needs no environment. A release
//! build names no folder of the machine that built it; `make build` links `target/lib/forecastd` to the libraries.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib/forecastd");
    if let (Ok("debug"), Ok(libtorch)) = (env::var("PROFILE").as_deref(), env::var("LIBTORCH")) {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{libtorch}/lib");
    }
}
