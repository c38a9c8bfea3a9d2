//! `libdhcp_flex_option`: options added, superseded and removed by expressions on the query (Kea manual,
//! "Flexible Option Actions for Option Value Settings"). Done last, when everything else stands in
//! the reply.
//!
//! An empty value changes nothing, as in Kea. A value that does not come about (an expression without
//! a value, text that the option's definition does not take) leaves that option alone and no other.

use super::Exchange;
use super::classify::Facts;
use crate::config::{FlexAction, FlexOption, FlexSubOption};
use crate::options::{self, DHCP4, sub_options};
use crate::packet::v4::{Reply, codes};
use crate::types::ClassSet;

/// Carries out what is configured, for a query of these classes.
pub fn apply(ex: &Exchange<'_>, classes: &ClassSet, reply: &mut Reply) {
    let Exchange { packet, reading, config, .. } = *ex;
    let all = &config.hooks.flex_option;
    if all.is_empty() {
        return;
    }
    let work = Work { ex, facts: Facts { packet, reading, config, classes, only_believed: false } };
    all.iter().for_each(|option| work.option(option, reply));
}

struct Work<'a> {
    ex: &'a Exchange<'a>,
    facts: Facts<'a>,
}

/// What becomes of a value.
enum Change {
    Nothing,
    Set(Vec<u8>),
    Remove,
}

impl Work<'_> {
    fn option(&self, option: &FlexOption, reply: &mut Reply) {
        if !self.is_for(option.class.as_deref()) {
            return;
        }
        let there = reply.options.contains_key(&option.code);
        match self.change(&option.action, there, DHCP4, option.code, option.csv) {
            Change::Nothing => {}
            Change::Set(value) => reply.set(option.code, value),
            Change::Remove => drop(reply.options.remove(&option.code)),
        }
        option.sub_options.iter().for_each(|sub| self.sub_option(option.code, sub, reply));
    }

    fn sub_option(&self, container: u8, sub: &FlexSubOption, reply: &mut Reply) {
        if !self.is_for(sub.class.as_deref()) {
            return;
        }
        let old = reply.options.get(&container).map(|value| value.to_vec());
        let Some(mut inside) = self.inside(container, sub, old.as_deref()) else { return };
        let there = inside.options.iter().any(|(code, _)| *code == sub.code);
        match self.change(&sub.action, there, &sub.space, sub.code, sub.csv) {
            Change::Nothing => return,
            Change::Set(_) if old.is_none() && !sub.container_add => return,
            Change::Set(value) => {
                inside.options.retain(|(code, _)| *code != sub.code);
                inside.options.push((sub.code, value));
                inside.options.sort_by_key(|(code, _)| *code);
            }
            Change::Remove => inside.options.retain(|(code, _)| *code != sub.code),
        }
        let gone = inside.options.is_empty() && sub.container_remove;
        let value = inside.write(gone);
        if gone && value.is_empty() {
            reply.options.remove(&container);
        } else {
            reply.set(container, value);
        }
    }

    fn is_for(&self, class: Option<&str>) -> bool {
        class.is_none_or(|class| self.facts.classes.contains(class))
    }

    fn change(&self, action: &FlexAction, there: bool, space: &str, code: u8, csv: bool) -> Change {
        let text = match action {
            FlexAction::None => return Change::Nothing,
            FlexAction::Add(_) if there => return Change::Nothing,
            FlexAction::Add(text) | FlexAction::Supersede(text) => text,
            FlexAction::Remove(test) => {
                let remove = there && test.evaluate(&self.facts) == Ok(true);
                return if remove { Change::Remove } else { Change::Nothing };
            }
        };
        let value: Vec<u8> = match text.evaluate(&self.facts) {
            Ok(value) if !value.is_empty() => value,
            _ => return Change::Nothing,
        };
        if !csv {
            return Change::Set(value);
        }
        let definition = self.ex.config.definitions.by_code(space, u32::from(code));
        let text = String::from_utf8(value).ok();
        let encoded = definition
            .zip(text)
            .and_then(|(definition, text)| options::encode_first(definition, &text).ok());
        encoded.map_or(Change::Nothing, |(value, _)| Change::Set(value))
    }

    /// The container of a sub-option, taken apart. `None` if what is in it is no sub-options.
    fn inside(&self, container: u8, sub: &FlexSubOption, value: Option<&[u8]>) -> Option<Inside> {
        let value = value.unwrap_or_default();
        let own = |list: Vec<(u8, &[u8])>| -> Vec<(u8, Vec<u8>)> {
            list.into_iter().map(|(code, value)| (code, value.to_vec())).collect()
        };
        if container == codes::VENDOR_OPTIONS
            && let Some(enterprise) = options::enterprise_of(&sub.space)
        {
            let mut inside =
                Inside { before: Vec::new(), enterprise: Some(enterprise), options: Vec::new() };
            for (number, block) in sub_options::enterprises(value) {
                match sub_options::parse(block) {
                    Some(list) if number == enterprise => inside.options.extend(own(list)),
                    None if number == enterprise => return None,
                    _ => {
                        inside.before.extend(number.to_be_bytes());
                        // It came out of a block.
                        inside.before.push(block.len() as u8);
                        inside.before.extend(block);
                    }
                }
            }
            return Some(inside);
        }
        let definition = self.ex.config.definitions.by_code(DHCP4, u32::from(container));
        let own_len = match definition {
            Some(own) if !value.is_empty() => options::own_len(own, value).ok()?,
            _ => 0,
        };
        // Without an encapsulated space all of it is the option's own, unless nobody defines it.
        let own_len =
            if definition.is_some_and(|own| own.encapsulates.is_none()) { 0 } else { own_len };
        let (before, behind) = value.split_at_checked(own_len)?;
        Some(Inside {
            before: before.to_vec(),
            enterprise: None,
            options: own(sub_options::parse(behind)?),
        })
    }
}

/// A container: what stands before its sub-options, and these.
struct Inside {
    before: Vec<u8>,
    enterprise: Option<u32>,
    options: Vec<(u8, Vec<u8>)>,
}

impl Inside {
    /// The bytes again; the block of an enterprise may go when it is empty.
    fn write(mut self, gone: bool) -> Vec<u8> {
        let options = self.options.iter().map(|(code, value)| (*code, &**value));
        match self.enterprise {
            Some(_) if gone => {}
            Some(number) => sub_options::put_enterprise(&mut self.before, number, options),
            // A container that is to go takes its own value along.
            None if gone => return Vec::new(),
            None => {
                options.for_each(|(code, value)| sub_options::put(&mut self.before, code, value))
            }
        }
        self.before
    }
}
