//! The part of `protoc` that build scripts use: compile `.proto` files to one descriptor set.
//!
//! `tools/protoc/protoc` builds and runs this where no real protoc is installed. The work is done by
//! `protox`; here is only the reading of protoc's command line. A flag that is not known is an error: to
//! ignore it silently could change what is generated.

use anyhow::{Context, Result, bail};
use protox::Compiler;
use std::path::PathBuf;

fn main() -> Result<()> {
    let (mut includes, mut files, mut out) = (Vec::new(), Vec::new(), None);
    let (mut imports, mut source_info) = (false, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .with_context(|| format!("{arg} needs a path after it"))
        };
        match arg.as_str() {
            "-I" => includes.push(PathBuf::from(value()?)),
            "-o" => out = Some(PathBuf::from(value()?)),
            "--include_imports" => imports = true,
            "--include_source_info" => source_info = true,
            // Long since the default, still passed by build scripts that support old versions of protoc.
            "--experimental_allow_proto3_optional" => {}
            _ if arg.starts_with('-') => bail!("{arg} is not supported here: install protoc to use it"),
            _ => files.push(PathBuf::from(arg)),
        }
    }
    let out = out.context("no output file: pass -o FILE")?;
    let mut compiler = Compiler::new(includes)?;
    compiler
        .include_imports(imports)
        .include_source_info(source_info)
        .open_files(files)?;
    std::fs::write(&out, compiler.encode_file_descriptor_set())
        .with_context(|| format!("cannot write {}", out.display()))
}
