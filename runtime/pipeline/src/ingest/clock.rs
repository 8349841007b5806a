//! The time of the calls: it must not run backwards.

/// Calls in a row that may lie far before an earlier one; the next one sets the clock back.
const MOST_BACKWARDS: u32 = 3;
/// A call this long before an earlier one counts as at the earlier one's time, ns.
const JITTER_NS: i64 = 100_000_000;

/// What a call's time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockTick {
    /// It is this time now.
    Now(i64),
    /// The call lies `by_ns` before an earlier one at `newest_ns`, and is refused.
    Backwards {
        /// Time of the earlier call.
        newest_ns: i64,
        /// How long before it.
        by_ns: i64,
    },
    /// The clock was set back: it is the time of the call now.
    SetBack,
}

/// The newest time, and the first one.
#[derive(Debug, Default)]
pub(crate) struct CallClock {
    first_ns: Option<i64>,
    newest_ns: Option<i64>,
    backwards: u32,
}

impl CallClock {
    /// Takes the time of a call.
    pub(crate) fn tick(&mut self, now_ns: i64) -> ClockTick {
        let newest_ns = self.newest_ns.unwrap_or(now_ns);
        let by_ns = newest_ns.saturating_sub(now_ns);
        if by_ns <= JITTER_NS {
            self.backwards = 0;
            self.first_ns.get_or_insert(now_ns);
            self.newest_ns = Some(now_ns.max(newest_ns));
            return ClockTick::Now(now_ns.max(newest_ns));
        }
        self.backwards += 1;
        if self.backwards <= MOST_BACKWARDS {
            return ClockTick::Backwards { newest_ns, by_ns };
        }
        *self = Self { first_ns: Some(now_ns), newest_ns: Some(now_ns), backwards: 0 };
        ClockTick::SetBack
    }

    /// The newest time; `None` before the first call.
    pub(crate) fn newest_ns(&self) -> Option<i64> {
        self.newest_ns
    }

    /// The time of the first call.
    pub(crate) fn first_ns(&self) -> Option<i64> {
        self.first_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if time runs backwards, if one wrong call sets the clock, or if a clock that was set
    /// back is refused for ever.
    #[test]
    fn a_call_before_an_earlier_one_is_refused_and_the_fourth_sets_the_clock_back() {
        let mut clock = CallClock::default();
        assert_eq!(clock.tick(50_000_000_000), ClockTick::Now(50_000_000_000));
        assert_eq!(clock.tick(49_950_000_000), ClockTick::Now(50_000_000_000), "jitter of 50 ms");
        let refused = ClockTick::Backwards { newest_ns: 50_000_000_000, by_ns: 40_000_000_000 };
        assert_eq!(clock.tick(10_000_000_000), refused);
        assert_eq!(clock.tick(50_100_000_000), ClockTick::Now(50_100_000_000), "one wrong call changes nothing");
        for _ in 0..MOST_BACKWARDS {
            assert!(matches!(clock.tick(10_000_000_000), ClockTick::Backwards { .. }));
        }
        assert_eq!(clock.tick(10_100_000_000), ClockTick::SetBack);
        assert_eq!((clock.tick(10_200_000_000), clock.first_ns()), (ClockTick::Now(10_200_000_000), Some(10_100_000_000)));
    }
}
