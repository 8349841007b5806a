//! `profile_latency`: what a ride costs on the machine that it will run on.

mod machine;

fn main() -> anyhow::Result<()> {
    Ok(())
}
