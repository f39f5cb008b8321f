//! What happens that nobody would have thought of?
//!
//! A [`Scene`] is tapes of choices: one for the world and one for each step. A step is a frame — out of nowhere, the answer
//! to a former one, a fragment — or time, the agent or the LRU at work. Steps can be left out and numbers lowered, and what
//! is left is a scene still; so a test that fails can look for the least that does.

mod answers;
mod changes;
mod damage;
mod frames;
mod pieces;
mod tell;

use super::case::{Mirror, Ran, gc_frame, nominate, outcome, run};
use super::choices::Choices;
use super::model::Bytes;
use super::world::{Source, World};
use crate::conntrack;

use answers::Heard;
use netd_common::drop::{Hook, Outcome};
use std::collections::BTreeMap;
pub use tell::{parse, text};

/// Numbers that are read as choices.
pub type Tape = Vec<u16>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    pub world: Tape,
    pub steps: Vec<Tape>,
}

impl Scene {
    /// How long the tapes are that a world and a step read to their end.
    pub const WORLD: usize = 64;
    pub const STEP: usize = 32;

    /// The world's, and behind it those of the steps.
    ///
    /// # Panics
    /// When there is none.
    pub fn tape(&mut self, index: usize) -> &mut Tape {
        if index == 0 { &mut self.world } else { &mut self.steps[index - 1] }
    }
}

/// What became of all the frames of some scenes.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub scenes: usize,
    pub frames: usize,
    pub outcomes: BTreeMap<(Hook, Outcome), usize>,
    /// Frames that left otherwise than they came.
    pub rewritten: usize,
    /// Frames that were redirected, answered or rewritten: those for which much can go wrong.
    pub reached: usize,
    /// Copies of frames that were sent on the way.
    pub copies: usize,
    /// Steps that were no frames.
    pub others: usize,
}

/// A scene being played.
#[derive(Debug)]
pub struct Stage<'a> {
    world: World,
    /// Frames that somebody got, the last one last.
    heard: Vec<Heard>,
    /// Datagrams in fragments.
    pieces: Vec<(Source, Vec<Vec<u8>>)>,
    /// Nanoseconds that have passed by steps.
    waited: u64,
    tally: &'a mut Tally,
    /// What has happened so far, a line a step; none when nobody reads it.
    told: Option<&'a mut Vec<String>>,
}

const HEARD_MAX: usize = 6;
const PIECES_MAX: usize = 2;
/// Of a scene: entries cannot be made older than the machine has been up.
const WAITED_MAX: u64 = 300_000_000_000;
/// Just before and behind the timeouts, and what makes a packet news.
const WAITS_MS: [u64; 8] = [1_500, 600, 19_500, 29_500, 30_500, 60_500, 100_500, 179_500];

/// Plays a scene on the model and the mirror. `told` gets a line for each step, before the step is played.
///
/// # Panics
/// When they differ, or when something is wrong with a frame whatever it is ([`run`]).
pub fn play<M: Mirror>(scene: &Scene, mirror: &mut M, tally: &mut Tally, mut told: Option<&mut Vec<String>>) -> World {
    let world = changes::world(&mut Choices::new(&scene.world));
    if let Some(told) = &mut told {
        told.extend(tell::world(&world));
    }
    mirror.begin(&world);
    tally.scenes += 1;
    let mut stage = Stage { world, heard: Vec::new(), pieces: Vec::new(), waited: 0, tally, told };
    for tape in &scene.steps {
        stage.step(&mut Choices::new(tape), mirror);
    }
    mirror.end(&stage.world);
    stage.world
}

impl Stage<'_> {
    fn step<M: Mirror>(&mut self, choices: &mut Choices, mirror: &mut M) {
        let kind = choices.weigh(&[32, 42, 8, 14, 3, 1, 1, 4]);
        match kind {
            4 => return self.wait(choices, mirror),
            5 => return self.evict(choices, mirror),
            6 => return self.collect(mirror),
            7 => return self.change(choices, mirror),
            _ => {}
        }
        if kind == 3
            && let Some((source, piece)) = self.next_piece(choices)
        {
            return self.send(source, &piece, mirror);
        }
        // Chosen in any case, so that what follows means the same whatever was before.
        let back = choices.weigh(&[8, 4, 2, 1, 1, 1]);
        let heard = self.heard.iter().rev().nth(back).or(self.heard.first());
        let (source, frame) = match (kind, heard) {
            (1, Some(heard)) => answers::answer(choices, heard),
            (2, Some(heard)) => answers::again(choices, heard),
            _ => frames::fresh(choices, &self.world),
        };
        if choices.once_in(10) {
            let pieces = pieces::cut(choices, &frame);
            if !pieces.is_empty() {
                self.pieces.push((source, pieces));
                if self.pieces.len() > PIECES_MAX {
                    self.pieces.remove(0);
                }
            }
            if let Some((source, piece)) = self.next_piece(choices) {
                return self.send(source, &piece, mirror);
            }
        }
        self.send(source, &frame, mirror);
    }

    /// A fragment of one of the last datagrams, most of the time the one whose turn it is.
    fn next_piece(&mut self, choices: &mut Choices) -> Option<(Source, Vec<u8>)> {
        let back = choices.weigh(&[4, 1]).min(self.pieces.len().checked_sub(1)?);
        let (source, pieces) = self.pieces.iter_mut().nth_back(back)?;
        let piece = pieces[choices.weigh(&[6, 1, 1, 1]).min(pieces.len() - 1)].clone();
        pieces.rotate_left(1);
        Some((*source, piece))
    }

    fn send<M: Mirror>(&mut self, source: Source, bytes: &[u8], mirror: &mut M) {
        self.tell(|| tell::frame(source, bytes));
        let hook = source.hook();
        let mut frame = self.world.frame(source, bytes.to_vec());
        mirror.send(&mut self.world, hook, &frame);
        frame.stack.random = self.world.stack.random;
        frame.stack.now_ns = self.world.stack.now_ns;
        let ran = run(&self.world, hook, frame);
        self.tell(|| format!("   {:?}{}", ran.verdict, tell::output(bytes, &ran.frame.bytes)));
        mirror.sent(&self.world, &ran);
        self.count(bytes, &ran);
        if let Some(heard) = Heard::new(source, bytes, &ran) {
            self.remember(heard);
        }
    }

    /// Of those that only passed one is enough: most would be the host talking to itself.
    fn remember(&mut self, heard: Heard) {
        if heard.is_untouched() {
            self.heard.retain(|former| !former.is_untouched());
            self.heard.insert(0, heard);
        } else {
            self.heard.push(heard);
        }
        if self.heard.len() > HEARD_MAX {
            self.heard.remove(0);
        }
    }

    fn count(&mut self, input: &[u8], ran: &Ran) {
        let tally = &mut *self.tally;
        let outcome = outcome(ran.verdict);
        let is_rewritten = ran.frame.bytes != input;
        tally.frames += 1;
        tally.rewritten += usize::from(is_rewritten);
        tally.reached += usize::from(is_rewritten || matches!(outcome, Outcome::Redirected | Outcome::Answered));
        tally.copies += ran.frame.copies.len();
        *tally.outcomes.entry((ran.hook, outcome)).or_default() += 1;
    }

    fn wait<M: Mirror>(&mut self, choices: &mut Choices, mirror: &mut M) {
        let ns = choices.pick(&WAITS_MS) * 1_000_000;
        if self.waited + ns > WAITED_MAX {
            return;
        }
        self.tally.others += 1;
        self.waited += ns;
        self.tell(|| format!("-- {} ms pass", ns / 1_000_000));
        self.world.stack.now_ns += ns;
        mirror.wait(ns);
    }

    fn evict<M: Mirror>(&mut self, choices: &mut Choices, mirror: &mut M) {
        let keys: Vec<_> = self.world.model.flows.borrow().keys().copied().collect();
        if keys.is_empty() {
            return;
        }
        let key = choices.pick(&keys);
        self.tally.others += 1;
        self.tell(|| format!("-- the LRU takes {key:?}"));
        self.world.model.flows.borrow_mut().remove(&key);
        mirror.evict(&key);
    }

    fn collect<M: Mirror>(&mut self, mirror: &mut M) {
        self.tally.others += 1;
        mirror.nominate(&self.world);
        let mut nominees = nominate(&self.world, &self.world.model.flows.borrow(), self.world.stack.now_ns);
        // As many as one run of the collector takes.
        nominees.truncate(netd_common::limits::NOMINEES_MAX);
        self.tell(|| format!("-- {} flows seem to be over", nominees.len()));
        let frame = Bytes { bytes: gc_frame(&nominees), stack: self.world.stack.clone(), ..Bytes::default() };
        let deleted = conntrack::collect(&frame, &self.world.model);
        mirror.collect(deleted);
    }

    fn change<M: Mirror>(&mut self, choices: &mut Choices, mirror: &mut M) {
        self.tally.others += 1;
        let what = changes::change(&mut self.world, choices);
        self.tell(|| format!("-- {what}"));
        mirror.change(&self.world);
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(told) = &mut self.told {
            told.push(line());
        }
    }
}

impl Tally {
    /// Adds what another one has.
    pub fn add(&mut self, other: &Self) {
        self.scenes += other.scenes;
        self.frames += other.frames;
        self.rewritten += other.rewritten;
        self.reached += other.reached;
        self.copies += other.copies;
        self.others += other.others;
        for (slot, count) in &other.outcomes {
            *self.outcomes.entry(*slot).or_default() += count;
        }
    }
}
