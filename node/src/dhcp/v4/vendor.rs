//! Options 124 and 125: a block for each enterprise (RFC 3925; Kea manual, "DHCPv4 Vendor-Specific
//! Options").
//!
//! Which enterprises: those of the client's own 124 and 125, and those of configured options 125 that
//! are sent. What is inside comes from the spaces `vendor-<enterprise>`, each option from the most
//! specific scope that has it: those with `always-send`, and of CableLabs (4491) those that the client
//! lists in its sub-option 1.

use std::sync::Arc;

use super::scope::{CodeSet, Scope};
use crate::config::OptionSet;
use crate::options::{enterprise_of, sub_options};
use crate::packet::v4::{Message, codes};

/// CableLabs, whose devices say what they want (CL-SP-CANN-DHCP-Reg).
const CABLELABS: u32 = 4491;
/// The list of wanted options in the space of CableLabs.
const REQUEST_LIST: u8 = 1;

/// Option 124, if the scope has one to send: of each enterprise the most specific entry.
pub fn classes(scope: &Scope<'_>, requested: &[u8]) -> Option<Vec<u8>> {
    scope.get(codes::VENDOR_CLASSES)?;
    if !scope.wants(codes::VENDOR_CLASSES, requested) {
        return None;
    }
    let mut seen: Vec<u32> = Vec::new();
    let mut all = Vec::new();
    for data in scope.entries(codes::VENDOR_CLASSES) {
        for (enterprise, value) in sub_options::enterprises(&data.bytes) {
            if !seen.contains(&enterprise) {
                seen.push(enterprise);
                all.extend(enterprise.to_be_bytes());
                // A block is never longer than its length says.
                all.push(value.len() as u8);
                all.extend(value);
            }
        }
    }
    Some(all)
}

/// Option 125, if there is anything to say.
pub fn options(scope: &Scope<'_>, query: &Message, requested: &[u8]) -> Option<Vec<u8>> {
    let spaces: Vec<Space<'_>> = scope.sets().flat_map(spaces).collect();
    let sent = scope.wants(codes::VENDOR_OPTIONS, requested);
    if spaces.is_empty() && !(sent && scope.get(codes::VENDOR_OPTIONS).is_some()) {
        return None;
    }
    let mut blocks: Vec<Block> = Vec::new();
    if sent {
        for data in scope.entries(codes::VENDOR_OPTIONS) {
            let value = data.value(scope.classes);
            for (enterprise, inside) in sub_options::enterprises(&value) {
                if blocks.iter().all(|block| block.enterprise != enterprise) {
                    blocks.push(Block::new(enterprise, inside));
                }
            }
        }
    }
    let asked = query.option(codes::VENDOR_OPTIONS).unwrap_or_default();
    let classes = query.option(codes::VENDOR_CLASSES).unwrap_or_default();
    let mut done: Vec<u32> = Vec::new();
    for Space { enterprise, .. } in &spaces {
        if done.contains(enterprise) {
            continue;
        }
        done.push(*enterprise);
        let of_it = |option: &[u8]| {
            sub_options::enterprises(option).any(|(number, _)| number == *enterprise)
        };
        let at = blocks.iter().position(|block| block.enterprise == *enterprise);
        if at.is_none() && !of_it(&asked) && !of_it(&classes) {
            continue;
        }
        let mut block =
            at.map_or_else(|| Block::new(*enterprise, &[]), |at| blocks.swap_remove(at));
        block.fill(scope, &spaces, wanted(&spaces, *enterprise, &asked));
        if at.is_some() || !block.options.is_empty() {
            blocks.push(block);
        }
    }
    blocks.sort_by_key(|block| block.enterprise);
    let mut out = Vec::new();
    blocks.iter().for_each(|block| block.put(&mut out));
    (!out.is_empty()).then_some(out)
}

/// A space of an enterprise in one scope.
struct Space<'a> {
    enterprise: u32,
    set: &'a OptionSet,
    name: &'a str,
}

fn spaces(set: &OptionSet) -> impl Iterator<Item = Space<'_>> {
    set.spaces().filter_map(move |name| Some(Space { enterprise: enterprise_of(name)?, set, name }))
}

/// The codes to send in the block of an enterprise.
fn wanted(spaces: &[Space<'_>], enterprise: u32, asked: &[u8]) -> CodeSet {
    let (mut wanted, mut never) = (CodeSet::default(), CodeSet::default());
    if enterprise == CABLELABS {
        let blocks = sub_options::enterprises(asked).filter(|(number, _)| *number == enterprise);
        let inside = blocks.flat_map(|(_, value)| sub_options::parse(value).unwrap_or_default());
        let lists = inside.filter(|(code, _)| *code == REQUEST_LIST);
        lists.flat_map(|(_, codes)| codes).for_each(|code| wanted.insert(*code));
    }
    for space in spaces.iter().filter(|space| space.enterprise == enterprise) {
        for (code, data) in space.set.iter_in(space.name) {
            let Ok(code) = u8::try_from(code) else { continue };
            if data.always_send {
                wanted.insert(code);
            }
            if data.never_send {
                never.insert(code);
            }
        }
    }
    wanted.without(never)
}

/// What is sent of one enterprise.
struct Block {
    enterprise: u32,
    options: Vec<(u8, Arc<[u8]>)>,
    /// What is configured in hexadecimal and is no options: sent as it is.
    raw: Vec<u8>,
}

impl Block {
    fn new(enterprise: u32, inside: &[u8]) -> Block {
        let (options, raw) = match sub_options::parse(inside) {
            Some(options) => {
                (options.iter().map(|(code, value)| (*code, (*value).into())).collect(), Vec::new())
            }
            None => (Vec::new(), inside.to_vec()),
        };
        Block { enterprise, options, raw }
    }

    /// Adds the wanted options that are not there yet.
    fn fill(&mut self, scope: &Scope<'_>, spaces: &[Space<'_>], wanted: CodeSet) {
        let of_it = || spaces.iter().filter(|space| space.enterprise == self.enterprise);
        let mut new = Vec::new();
        for code in wanted {
            if self.options.iter().any(|(own, _)| *own == code) {
                continue;
            }
            let mut entries =
                of_it().flat_map(|space| space.set.all_in(space.name, u32::from(code)));
            if let Some(data) = entries.find(|data| data.guard.admits(scope.classes)) {
                new.push((code, data.value(scope.classes)));
            }
        }
        self.options.extend(new);
        self.options.sort_by_key(|(code, _)| *code);
    }

    fn put(&self, out: &mut Vec<u8>) {
        if !self.raw.is_empty() {
            out.extend(self.enterprise.to_be_bytes());
            // It came out of a block.
            out.push(self.raw.len() as u8);
            out.extend(&self.raw);
            if self.options.is_empty() {
                return;
            }
        }
        let options = self.options.iter().map(|(code, value)| (*code, &**value));
        sub_options::put_enterprise(out, self.enterprise, options);
    }
}
