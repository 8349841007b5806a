//! What the assembler says of each kernel.

use anyhow::{Context, Result, bail};
use drivewam_device::cuda::cubins::{KernelManifest, KernelUsage};
use std::fmt::Write;

/// The number before `word` in `line`, if it is there.
fn before(line: &str, word: &str) -> Option<u32> {
    line.split(',').find_map(|part| part.trim().strip_suffix(word)).and_then(|number| number.trim().rsplit(' ').next()?.parse().ok())
}

/// Reads the log of `ptxas -v`: for every entry point its properties (stack, spills), then what it used (registers, shared memory).
///
/// # Errors
/// A log that says nothing of a kernel: then nobody knows whether it spills.
pub(crate) fn parse(log: &str) -> Result<Vec<KernelUsage>> {
    let mut all: Vec<KernelUsage> = Vec::new();
    let mut open: Option<(KernelUsage, bool)> = None;
    for line in log.lines() {
        if let Some(name) = line.split("Function properties for ").nth(1) {
            let kernel = name.trim().to_owned();
            open = Some((KernelUsage { kernel, registers: 0, shared_bytes: 0, stack_bytes: 0, spill_bytes: 0 }, false));
        } else if let Some((usage, told)) = &mut open {
            if line.contains("bytes stack frame") {
                let number =
                    |word: &str| before(line, word).with_context(|| format!("{}: no figure for {word:?} in {line:?}", usage.kernel));
                let (stack, stores, loads) = (number("bytes stack frame")?, number("bytes spill stores")?, number("bytes spill loads")?);
                (usage.stack_bytes, usage.spill_bytes, *told) = (stack, stores + loads, true);
            } else if line.contains("Used ") && line.contains("registers") {
                if !*told {
                    bail!("{}: the assembler says nothing of its spills", usage.kernel);
                }
                usage.registers =
                    before(line, "registers").with_context(|| format!("{}: no figure for registers in {line:?}", usage.kernel))?;
                usage.shared_bytes = before(line, "bytes smem").unwrap_or(0);
                all.extend(open.take().map(|(usage, _)| usage));
            }
        }
    }
    if all.is_empty() {
        bail!("the assembler says nothing of any kernel");
    }
    all.sort_by(|a, b| a.kernel.cmp(&b.kernel));
    Ok(all)
}

/// A row per kernel, a group of columns per architecture: registers, stack and spills.
pub(crate) fn table(manifest: &KernelManifest) -> String {
    let mut out = String::new();
    let machine: Vec<_> = manifest.files.iter().filter(|file| !file.kernels.is_empty()).collect();
    let _ = writeln!(out, "{}, sources {}", manifest.compiler, &manifest.sources_sha256[..12]);
    let _ = writeln!(out, "registers / local memory of a thread / spills, bytes");
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

    /// Breaks if a spill is overlooked, or a log that says nothing counts as none.
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
