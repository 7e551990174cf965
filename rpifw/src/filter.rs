// SPDX-License-Identifier: MIT OR Apache-2.0

//! The conditional filters of config.txt. (DOC config_txt/conditional.adoc; the names without a page are those that
//! start.elf of 2026-02 and the Pi 5 bootloader of 2026-05 compare with.)

use crate::{BOARDS, Board};

/// What filters are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The board.
    pub board: &'a Board,
    /// Whether the tryboot flag was set.
    pub tryboot: bool,
    /// The partition that is booted.
    pub partition: u32,
}

/// "Filters of the same type replace each other", those of different types hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    None,
    Model,
    BoardType,
    Tryboot,
    Partition,
    BootPartition,
    Edid,
    Hdmi,
    Gpio,
    Serial,
    /// Values of the very board: nobody else knows them.
    Board,
    Unknown,
}

/// Whether a filter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It does, or does not.
    Known(bool),
    /// That depends on the very board, its monitor or its pins: taken as no.
    Depends,
    /// There is no such filter: taken as no.
    Unknown,
}

/// The filters that lines stand under.
#[derive(Clone, Debug, Default)]
pub struct Filters(Vec<(Kind, bool)>);

impl Filters {
    /// Whether a line counts here.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.0.iter().all(|(_, holds)| *holds)
    }

    /// Adds the filter `name`, without its brackets.
    pub fn add(&mut self, name: &str, context: &Context<'_>) -> Holds {
        let name = name.trim().to_ascii_lowercase();
        if name == "all" {
            self.0.clear();
            return Holds::Known(true);
        }
        let (kind, holds) = judge(&name, context);
        self.0.retain(|(other, _)| *other != kind);
        self.0.push((kind, holds == Holds::Known(true)));
        holds
    }
}

/// Whether there is a filter of this name.
#[must_use]
pub fn is_known(name: &str, board: &Board) -> bool {
    let context = Context { board, tryboot: false, partition: 1 };
    Filters::default().add(name, &context) != Holds::Unknown
}

fn judge(name: &str, context: &Context<'_>) -> (Kind, Holds) {
    let board = context.board;
    if BOARDS.iter().any(|board| board.filters.contains(&name)) {
        return (Kind::Model, Holds::Known(board.filters.contains(&name)));
    }
    match name {
        "none" => return (Kind::None, Holds::Known(false)),
        "tryboot" => return (Kind::Tryboot, Holds::Known(context.tryboot)),
        _ => {}
    }
    let compare = |name, value| compare(name, value).map_or(Holds::Unknown, Holds::Known);
    let end = name.find(['=', '&', '<', '>', ':']).unwrap_or(name.len());
    let (variable, condition) = name.split_at_checked(end).unwrap_or((name, ""));
    let numbered = |prefix| {
        variable.strip_prefix(prefix).is_some_and(|number: &str| number.parse::<u8>().is_ok())
    };
    match variable {
        "board-type" => (Kind::BoardType, compare(condition, board.type_code)),
        "partition" => (Kind::Partition, compare(condition, context.partition)),
        "boot_partition" => (Kind::BootPartition, compare(condition, context.partition)),
        "edid" if condition.len() > 1 => (Kind::Edid, Holds::Depends),
        // which of two monitors the lines are for: nothing that boots depends on it
        "hdmi" if matches!(condition, ":0" | ":1") => (Kind::Hdmi, Holds::Known(true)),
        "board_attributes" | "bootvar0" | "boot_count" | "boot_arg1" if !condition.is_empty() => {
            (Kind::Board, Holds::Depends)
        }
        _ if numbered("cust_otp") && !condition.is_empty() => (Kind::Board, Holds::Depends),
        _ if numbered("gpio") && matches!(condition, "=0" | "=1") => (Kind::Gpio, Holds::Depends),
        _ if condition.is_empty() && number(variable).is_some() && variable.starts_with("0x") => {
            (Kind::Serial, Holds::Depends)
        }
        _ => (Kind::Unknown, Holds::Unknown),
    }
}

/// `=V`, `&M`, `&M=V`, `<V` and `>V`. None: it is none of those.
fn compare(condition: &str, value: u32) -> Option<bool> {
    let value = u64::from(value);
    let (operator, rest) = condition.split_at_checked(1)?;
    match (operator, rest.split_once('=')) {
        ("=", _) => Some(value == number(rest)?),
        ("<", _) => Some(value < number(rest)?),
        (">", _) => Some(value > number(rest)?),
        ("&", Some((mask, expected))) => Some(value & number(mask)? == number(expected)?),
        ("&", None) => Some(value & number(rest)? != 0),
        _ => None,
    }
}

/// Decimal, or hexadecimal after `0x`.
pub(crate) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
