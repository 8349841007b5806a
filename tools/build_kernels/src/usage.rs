//! Register and memory usage of the kernels, from the assembler's log.

use anyhow::{Context, Result, bail};
use drivewam_device::cuda::cubins::{KernelManifest, KernelUsage};
use std::fmt::Write;

/// The number before `word` in `line`.
fn before(line: &str, word: &str) -> Option<u32> {
    line.split(',').find_map(|part| part.trim().strip_suffix(word)).and_then(|number| number.trim().rsplit(' ').next()?.parse().ok())
}

/// Parses the log of `ptxas -v`: for every entry point its function properties (stack, spills) and
/// its usage (registers, shared memory).
///
/// # Errors
/// A log without these lines, because a spill could then go unnoticed.
pub(crate) fn parse(log: &str) -> Result<Vec<KernelUsage>> {
    let mut all: Vec<KernelUsage> = Vec::new();
    // The present entry point, and whether its spills were read.
    let mut open: Option<(KernelUsage, bool)> = None;
    for line in log.lines() {
        if let Some(name) = line.split("Function properties for ").nth(1) {
            let kernel = name.trim().to_owned();
            open = Some((KernelUsage { kernel, registers: 0, shared_bytes: 0, stack_bytes: 0, spill_bytes: 0 }, false));
        } else if let Some((usage, has_spills)) = &mut open {
            if line.contains("bytes stack frame") {
                let number =
                    |word: &str| before(line, word).with_context(|| format!("{}: no number before {word:?} in {line:?}", usage.kernel));
                let (stack, stores, loads) = (number("bytes stack frame")?, number("bytes spill stores")?, number("bytes spill loads")?);
                (usage.stack_bytes, usage.spill_bytes, *has_spills) = (stack, stores + loads, true);
            } else if line.contains("Used ") && line.contains("registers") {
                if !*has_spills {
                    bail!("{}: the assembler's log has no spills of it", usage.kernel);
                }
                usage.registers =
                    before(line, "registers").with_context(|| format!("{}: no number of registers in {line:?}", usage.kernel))?;
                usage.shared_bytes = before(line, "bytes smem").unwrap_or(0);
                all.extend(open.take().map(|(usage, _)| usage));
            }
        }
    }
    if all.is_empty() {
        bail!("the assembler's log has no kernel");
    }
    all.sort_by(|a, b| a.kernel.cmp(&b.kernel));
    Ok(all)
}

/// A table of registers, stack and spills: a row per kernel, a column per architecture.
pub(crate) fn table(manifest: &KernelManifest) -> String {
    let mut out = String::new();
    let machine: Vec<_> = manifest.files.iter().filter(|file| !file.kernels.is_empty()).collect();
    let _ = writeln!(out, "{}, sources {}", manifest.compiler, &manifest.sources_sha256[..12]);
    let _ = writeln!(out, "registers / local memory per thread, bytes / spills, bytes");
    let _ = write!(out, "{:<18}", "kernel");
    for file in &machine {
        let _ = write!(out, "  {:>13}", file.architecture);
    }
    let _ = writeln!(out);
    let names: Vec<&str> = machine.first().map(|file| file.kernels.iter().map(|k| k.kernel.as_str()).collect()).unwrap_or_default();
    for name in names {
        let _ = write!(out, "{name:<18}");
        for file in &machine {
            let cell = file.kernels.iter().find(|k| k.kernel == name);
            let cell = cell.map_or_else(|| "-".into(), |k| format!("{} / {} / {}", k.registers, k.stack_bytes, k.spill_bytes));
            let _ = write!(out, "  {cell:>13}");
        }
        let _ = writeln!(out);
    }
    for file in &manifest.files {
        let _ = writeln!(out, "{:<18}  {:>9} bytes  {}", file.file, file.bytes, &file.sha256[..12]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "ptxas info    : 45 bytes gmem\n\
        ptxas info    : Compiling entry function 'score' for 'sm_90'\n\
        ptxas info    : Function properties for score\n\
        ptxas         .     224 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n\
        ptxas info    : Used 219 registers, used 1 barriers, 224 bytes cumulative stack size, 96 bytes smem\n\
        ptxas info    : Function properties for drop\n    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
        ptxas info    : Used 10 registers, 3112 bytes cmem[0]\n";

    /// Breaks if a spill is missed, or a log without spill lines counts as no spills.
    #[test]
    fn the_assemblers_log_is_read() {
        let all = parse(LOG).unwrap();
        let usage = |kernel: &str, registers, shared_bytes, stack_bytes, spill_bytes| KernelUsage {
            kernel: kernel.into(),
            registers,
            shared_bytes,
            stack_bytes,
            spill_bytes,
        };
        assert_eq!(all, [usage("drop", 10, 0, 0, 0), usage("score", 219, 96, 224, 12)]);
        assert!(parse("").is_err());
        assert!(parse(&LOG.replace("bytes spill stores", "")).is_err());
    }
}
