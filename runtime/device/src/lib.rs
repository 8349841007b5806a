//! Memory and the work between engine calls.
//!
//! Enters: an arena plan, pictures, the keys and values that a pass produced. Leaves: one allocation whose regions everyone names by token, the
//! KV memory scored, selected and overwritten in place, solver steps taken, pictures resampled. Never: models, policies of the ride, or a second
//! allocation after [`Device::kv_open`]. A [`Device`] is owned by one ride and used by one thread.

pub mod device;
pub mod host;

pub use device::{Device, KvCounts, KvLayout, KvRegions, PassKv, Pool, Taps};
pub use host::HostArena;
