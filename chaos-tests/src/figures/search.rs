//! The search for the highest rate that a server still answers cleanly. Pure: it is told how a run went and says what to try next.
//!
//! The rate is doubled until a run is not clean (or halved until one is), then the gap is halved until it is narrow. Noise makes a clean
//! rate look unclean more often than the other way round, so a rate has failed when it failed twice.

/// No rate is below this.
const LEAST: u32 = 50;
/// Rates are multiples of this.
const GRAIN: u32 = 50;
/// The gap at which the search ends, in hundredths of the clean rate.
const GAP_PERCENT: u32 = 5;
/// How often a rate must fail.
const FAILURES: u32 = 2;

/// A search.
#[derive(Debug, Clone)]
pub struct Search {
    next: u32,
    most: u32,
    failures: u32,
    clean: Option<u32>,
    unclean: Option<u32>,
}

impl Search {
    /// Begins at `start`; nothing above `most` is tried.
    pub fn new(start: u32, most: u32) -> Search {
        let most = most.max(LEAST);
        Search { next: grained(start).min(most), most, failures: 0, clean: None, unclean: None }
    }

    /// The rate to try now; none when the search is over.
    pub fn rate(&self) -> Option<u32> {
        let narrow = match (self.clean, self.unclean) {
            (Some(clean), Some(unclean)) => {
                unclean.saturating_sub(clean) <= (clean * GAP_PERCENT / 100).max(GRAIN)
            }
            (Some(clean), None) => clean >= self.most,
            (None, Some(unclean)) => unclean <= LEAST,
            (None, None) => false,
        };
        (!narrow).then_some(self.next)
    }

    /// Says how the run at [`Search::rate`] went.
    pub fn tell(&mut self, is_clean: bool) {
        if is_clean {
            self.clean = Some(self.next);
        } else {
            self.failures += 1;
            if self.failures < FAILURES {
                return;
            }
            self.unclean = Some(self.next);
        }
        self.failures = 0;
        self.next = match (self.clean, self.unclean) {
            (Some(clean), Some(unclean)) => grained(clean.midpoint(unclean)),
            (Some(clean), None) => grained(clean.saturating_mul(2)).min(self.most),
            (None, Some(unclean)) => grained(unclean / 2),
            (None, None) => self.next,
        };
    }

    /// The highest clean rate so far.
    pub fn best(&self) -> Option<u32> {
        self.clean
    }

    /// Whether the search ended at its upper limit, so that the true rate may be higher.
    pub fn is_open(&self) -> bool {
        self.clean == Some(self.most)
    }
}

fn grained(rate: u32) -> u32 {
    (rate / GRAIN * GRAIN).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches against a server that is clean up to `limit`; the rates that were tried.
    fn search(start: u32, most: u32, mut clean: impl FnMut(u32) -> bool) -> (Search, Vec<u32>) {
        let (mut search, mut tried) = (Search::new(start, most), Vec::new());
        while let Some(rate) = search.rate() {
            tried.push(rate);
            assert!(tried.len() < 60, "no end: {tried:?}");
            let is_clean = clean(rate);
            search.tell(is_clean);
        }
        (search, tried)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above_within_the_gap() {
        for limit in [60, 199, 1_000, 3_333, 10_000, 39_999] {
            for start in [50, 1_000, 20_000] {
                let (search, tried) = search(start, 64_000, |rate| rate <= limit);
                let best = search.best().expect("there is one");
                assert!(
                    best <= limit && limit - best <= (limit / 20).max(GRAIN),
                    "{limit}: {best} after {tried:?}"
                );
                assert!(!search.is_open());
            }
        }
    }

    #[test]
    fn nothing_is_tried_above_the_limit_and_a_server_that_is_never_clean_has_no_rate() {
        let (all, tried) = search(1_000, 30_000, |_| true);
        assert_eq!(
            (all.best(), all.is_open(), tried.iter().max()),
            (Some(30_000), true, Some(&30_000))
        );
        let (none, tried) = search(1_000, 30_000, |_| false);
        assert_eq!((none.best(), tried.last()), (None, Some(&LEAST)));
    }

    #[test]
    fn one_failure_is_noise() {
        let mut first = true;
        let (search, _) =
            search(1_000, 4_000, |rate| !(rate == 2_000 && std::mem::take(&mut first)));
        assert_eq!(search.best(), Some(4_000));
    }
}
