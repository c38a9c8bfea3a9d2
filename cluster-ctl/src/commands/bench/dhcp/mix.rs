//! What the life of a client is made of: `discover,request,renew:10,release`.

/// The most steps that a life may have, repetitions counted.
const MOST: usize = 1000;

/// One step of a life: something that is begun, and counted, as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A DISCOVER whose OFFER is not taken.
    Discover,
    /// DISCOVER, OFFER, REQUEST, ACK.
    Exchange,
    /// A renewal.
    Renew,
    /// A RELEASE.
    Release,
}

/// A life: its steps, which begin again at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    steps: Vec<Step>,
    text: String,
}

impl Mix {
    /// Reads what the command line says.
    pub fn parse(text: &str) -> Result<Mix, String> {
        let mut steps = Vec::new();
        let mut words = text.split(',').map(str::trim).peekable();
        while let Some(word) = words.next() {
            let (name, times) = match word.split_once(':') {
                None => (word, 1),
                Some((name, times)) => (name, times.parse().map_err(|_| repeat(word))?),
            };
            let step = match name {
                "discover" if words.next_if_eq(&"request").is_some() => Step::Exchange,
                "discover" => Step::Discover,
                "renew" => Step::Renew,
                "release" => Step::Release,
                "request" => return Err("request comes right after discover".into()),
                _ => {
                    return Err(format!(
                        "{name:?} is none of discover, request, renew and release"
                    ));
                }
            };
            if times == 0 || times > 1 && step != Step::Renew {
                return Err(repeat(word));
            }
            if steps.len().saturating_add(times) > MOST {
                return Err(format!("a client has at most {MOST} steps"));
            }
            steps.extend(std::iter::repeat_n(step, times));
        }
        let mix = Mix { steps, text: text.replace(' ', "") };
        mix.makes_sense().map(|()| mix)
    }

    /// After a RELEASE there is nothing to renew or release.
    fn makes_sense(&self) -> Result<(), String> {
        let released = self.steps.iter().zip(self.steps.iter().cycle().skip(1));
        for (step, next) in released {
            if *step == Step::Release && *next != Step::Exchange && *next != Step::Discover {
                return Err(
                    "release ends the lease: after it, which is also the beginning, comes discover"
                        .into(),
                );
            }
        }
        let takes = self.steps.contains(&Step::Exchange);
        if self.steps.contains(&Step::Discover) && (takes || self.steps.len() > 1) {
            return Err("a discover without request stands alone: its offer is not taken".into());
        }
        Ok(())
    }

    /// The steps, in their order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether clients must have a lease before they begin.
    pub fn begins_bound(&self) -> bool {
        self.steps[0] == Step::Renew
    }

    /// Whether it ever takes a lease.
    pub fn binds(&self) -> bool {
        self.steps[0] != Step::Discover
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn repeat(word: &str) -> String {
    format!("{word:?}: only renew is repeated, as renew:NUMBER, 1 to {MOST}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_read_in_its_order() {
        let steps = |text| Mix::parse(text).map(|mix| mix.steps);
        assert_eq!(steps("discover"), Ok(vec![Step::Discover]));
        assert_eq!(steps("discover,request"), Ok(vec![Step::Exchange]));
        assert_eq!(steps("renew"), Ok(vec![Step::Renew]));
        let whole = vec![Step::Exchange, Step::Renew, Step::Renew, Step::Release];
        assert_eq!(steps("discover, request, renew:2, release"), Ok(whole));
        assert!(Mix::parse("renew").is_ok_and(|mix| mix.begins_bound() && mix.binds()));
        assert!(Mix::parse("discover").is_ok_and(|mix| !mix.begins_bound() && !mix.binds()));
    }

    #[test]
    fn a_life_that_no_client_can_have_is_refused_with_the_reason() {
        for (text, says) in [
            ("", "none of"),
            ("inform", "\"inform\" is none of"),
            ("request", "right after discover"),
            ("discover,renew,request", "right after discover"),
            ("discover,renew", "stands alone"),
            ("discover,release", "stands alone"),
            ("renew,release", "after it"),
            ("discover,request,release,renew", "after it"),
            ("renew:0", "1 to 1000"),
            ("renew:x", "1 to 1000"),
            ("renew:1001", "at most 1000"),
            ("renew:18446744073709551615", "at most 1000"),
            ("discover:2", "only renew"),
        ] {
            let error = Mix::parse(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
