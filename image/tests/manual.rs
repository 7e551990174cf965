// SPDX-License-Identifier: MIT OR Apache-2.0
//! man/pivot-image.1 and the command line name the same options.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is wrong")]

use std::collections::BTreeSet;

use clap::{Arg, Command, CommandFactory};
use image::cli::Cli;

const PAGE: &str = include_str!("../../man/pivot-image.1");

/// What follows each `Fl` in these lines: `o`, `-out`.
fn flags(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with('.')) {
        let mut words = line.trim_start_matches('.').split(' ').peekable();
        while let Some(word) = words.next() {
            // of `.It Fl q , -quiet` both are flags
            let next = words.next_if(|_| word == "Fl" || word == ",");
            found.extend(next.filter(|next| word == "Fl" || next.starts_with('-')));
        }
    }
    found
}

/// The names of an option as the page writes them.
fn names(option: &Arg) -> Vec<String> {
    let long =
        option.get_long().into_iter().chain(option.get_visible_aliases().unwrap_or_default());
    let long = long.map(|name| format!("-{name}"));
    option.get_short().map(String::from).into_iter().chain(long).collect()
}

/// The options of each command; those of all are in the first, without a name.
fn commands() -> Vec<(String, Vec<Arg>)> {
    let mut cli = Cli::command();
    cli.build();
    let mut found = vec![(String::new(), options(&cli))];
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        found.push((command.get_name().to_owned(), options(command)));
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            found.push((format!("{} {}", command.get_name(), inner.get_name()), options(inner)));
        }
    }
    let common: Vec<_> = found.first().unwrap().1.iter().map(|arg| arg.get_id().clone()).collect();
    for (_, options) in found.iter_mut().skip(1) {
        options.retain(|option| !common.contains(option.get_id()));
    }
    found
}

fn options(command: &Command) -> Vec<Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional()).cloned().collect()
}

/// The lines of the synopsis for a command.
fn synopsis(command: &str) -> &str {
    let (_, rest) = PAGE.split_once(".Sh SYNOPSIS\n").unwrap();
    let (all, _) = rest.split_once("\n.Sh ").unwrap();
    let is_its = |block: &&str| {
        let names = block.lines().find_map(|line| line.strip_prefix(".Cm ")).unwrap_or_default();
        names.split(" | ").any(|name| name == command)
    };
    all.split(".Nm\n").find(is_its).unwrap_or_else(|| panic!("no synopsis of {command}"))
}

#[test]
fn every_option_is_in_the_page() {
    let known = flags(PAGE);
    for (command, options) in commands() {
        for name in options.iter().flat_map(names) {
            assert!(known.contains(&*name), "-{name} of {command:?} is not in the page");
        }
    }
}

#[test]
fn synopses_have_the_options_of_their_commands() {
    let mut commands = commands().into_iter();
    let (_, common) = commands.next().unwrap();
    for (command, options) in commands {
        let mut found = flags(synopsis(&command));
        // the first synopsis shows them, too
        let common: Vec<_> = common.iter().flat_map(names).collect();
        found.retain(|flag| !common.iter().any(|name| name == flag));
        for option in options {
            let names = names(&option);
            let there = names.iter().any(|name| found.contains(&**name));
            assert!(there, "{names:?} is not in the synopsis of {command}");
            found.retain(|flag| !names.iter().any(|name| name == flag));
        }
        assert!(found.is_empty(), "{command} has no {found:?}");
    }
}

/// `No` does not end a quotation: it would take the rest of the line. `.Do gpt Dc or` does.
#[test]
fn quotations_end() {
    let pages = [
        ("pivot-image.1", PAGE),
        ("pivot.7", include_str!("../../man/pivot.7")),
        ("bootsel.8", include_str!("../../man/bootsel.8")),
    ];
    for (name, page) in pages {
        for line in page.lines().filter(|line| line.starts_with('.')) {
            let mut words = line.trim_start_matches('.').split(' ');
            let quoted = words.any(|word| matches!(word, "Dq" | "Sq" | "Qq" | "Ql"));
            assert!(!(quoted && words.any(|word| word == "No")), "{name}: {line}");
        }
    }
}
