// SPDX-License-Identifier: MIT OR Apache-2.0
//! The states that a cut during a command can leave: every number of requests, each one torn, and between two flushes
//! any part of them in any order.

use std::ops::Range;

use anyhow::{Context, Result};

use super::card::Card;
use super::judge::Judge;
use crate::random::Random;
use crate::recorder::Request;

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Of a long request so many parts; of one of up to eight sectors every one.
    pub(super) torn: usize,
    /// Of the requests between two flushes: so many are left out, or done alone, each by itself.
    pub(super) single: usize,
    /// So many choices of them by chance.
    pub(super) chance: usize,
}

/// How many states were looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) prefixes: u32,
    pub(super) torn: u32,
    pub(super) reordered: u32,
}

impl Count {
    pub(super) fn all(self) -> u32 {
        self.prefixes + self.torn + self.reordered
    }
}

/// The states of one command.
#[derive(Debug)]
pub(super) struct States<'a, 'b, 'd> {
    pub(super) card: &'a mut Card<'d>,
    pub(super) requests: &'a [Request],
    pub(super) judge: &'a mut Judge<'b, 'd>,
    pub(super) random: &'a mut Random,
    pub(super) effort: Effort,
    pub(super) count: Count,
}

impl States<'_, '_, '_> {
    /// Judges them. The card is as after request `of.start - 1` at first, and as after the last of these at the end.
    pub(super) fn look(&mut self, of: Range<usize>) -> Result<()> {
        let (mut window, mut point) = (Vec::new(), self.card.here());
        for number in of.clone() {
            let Some(request) = self.requests.get(number) else { break };
            if *request == Request::Flush {
                self.reordered(&window, point, false).with_context(|| at(&of, number))?;
                window.clear();
                self.card.keep();
                point = self.card.here();
                continue;
            }
            self.judge.judge(self.card, false).with_context(|| at(&of, number))?;
            self.count.prefixes += 1;
            self.torn(request)
                .with_context(|| format!("in the middle of it, {}", at(&of, number)))?;
            self.card.apply(request)?;
            window.push(number);
        }
        // The command has ended: of what is left in the disk's cache nothing may matter.
        self.judge.judge(self.card, true).with_context(|| at(&of, of.end))?;
        self.count.prefixes += 1;
        self.reordered(&window, point, true).with_context(|| at(&of, of.end))
    }

    fn torn(&mut self, request: &Request) -> Result<()> {
        for part in request.parts(self.effort.torn) {
            if part.splits_superblock(self.card.data.start) {
                continue;
            }
            let point = self.card.here();
            self.card.apply(&part)?;
            self.judge
                .judge(self.card, false)
                .with_context(|| format!("up to byte {}", part.end()))?;
            self.card.back_to(point)?;
            self.count.torn += 1;
        }
        Ok(())
    }

    /// Of the requests since a flush any may be on the medium. The card has all of them, before and after this.
    fn reordered(&mut self, window: &[usize], point: usize, over: bool) -> Result<()> {
        if window.is_empty() {
            return Ok(());
        }
        let mut choices: Vec<Vec<usize>> = Vec::new();
        for one in self.random.some(window, self.effort.single) {
            choices.push(window.iter().copied().filter(|other| *other != one).collect());
            choices.push(vec![one]);
        }
        if window.len() > 2 {
            for _ in 0..self.effort.chance.min(1 << window.len().min(20)) {
                choices.push(self.choice(window));
            }
        }
        choices.push(Vec::new());
        choices.sort();
        choices.dedup();
        for choice in &choices {
            self.card.back_to(point)?;
            self.apply(choice)?;
            let told = || {
                let lost = window.iter().filter(|one| !choice.contains(one));
                format!("without {:?}", lost.collect::<Vec<_>>())
            };
            self.judge.judge(self.card, over).with_context(told)?;
            self.count.reordered += 1;
        }
        self.card.back_to(point)?;
        self.apply(window)
    }

    /// Some of them, in an order of chance.
    fn choice(&mut self, window: &[usize]) -> Vec<usize> {
        let mut left = window.to_vec();
        let count = 1 + self.random.of(left.len());
        (0..count).map(|_| left.swap_remove(self.random.of(left.len()))).collect()
    }

    fn apply(&mut self, numbers: &[usize]) -> Result<()> {
        for request in numbers.iter().filter_map(|number| self.requests.get(*number)) {
            self.card.apply(request)?;
        }
        Ok(())
    }
}

fn at(of: &Range<usize>, number: usize) -> String {
    format!("before request {} of {}", number - of.start, of.len())
}
