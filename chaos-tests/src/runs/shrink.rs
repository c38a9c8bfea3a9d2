//! A failing plan made smaller, as long as it stays failing.

use crate::floor::sim::Plan;

/// The smallest plan found from `plan` that still `fails`, by trying one step after the other until none helps. `most` tries.
pub fn shrink(plan: Plan, most: usize, mut fails: impl FnMut(&Plan) -> bool) -> Plan {
    let mut best = plan;
    let mut tries = 0;
    loop {
        let mut smaller = false;
        for next in steps(&best) {
            if tries == most {
                return best;
            }
            tries += 1;
            if fails(&next) {
                (best, smaller) = (next, true);
                break;
            }
        }
        if !smaller {
            return best;
        }
    }
}

/// Plans a step smaller, the largest step first.
fn steps(plan: &Plan) -> Vec<Plan> {
    let mut steps = Vec::new();
    for rounds in [plan.rounds / 2, plan.rounds.saturating_sub(1)] {
        if rounds > 0 && rounds < plan.rounds {
            steps.push(Plan { rounds, ..*plan });
        }
    }
    let few: Vec<_> = plan.faults.iter().collect();
    if few.len() > 1 {
        steps.extend(few.iter().map(|fault| Plan { faults: plan.faults.without(*fault), ..*plan }));
    }
    for clients in [plan.clients / 2, plan.clients.saturating_sub(1)] {
        if clients > 0 && clients < plan.clients {
            steps.push(Plan { clients, ..*plan });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::sim::faults::Fault;

    #[test]
    fn only_what_matters_is_left() {
        let plan = Plan { rounds: 9, clients: 16, ..Plan::default() };
        let fails = |plan: &Plan| {
            plan.rounds >= 3
                && plan.clients >= 5
                && plan.faults.has(Fault::Cut)
                && plan.faults.has(Fault::Kill)
        };
        let least = shrink(plan, 1_000, fails);
        assert_eq!((least.rounds, least.clients), (3, 5));
        assert_eq!(least.faults.to_string(), "kill,cut");
    }

    #[test]
    fn it_ends() {
        let mut tries = 0;
        let plan = shrink(Plan::default(), 7, |_| {
            tries += 1;
            true
        });
        assert_eq!(tries, 7);
        assert!(plan.rounds < Plan::default().rounds);
    }
}
