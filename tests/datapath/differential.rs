//! Do scenes that nobody thought of give the same in the kernel as on the model?
//!
//! A scene that does not is made as small as it can be, by leaving out steps and lowering choices, and told: what happened
//! on which world, and how to play it again.

use crate::kernel::Kernel;
use netd::kernel::flows::monotonic_ns;
use netd_ebpf::testing::scene::{self, Scene, Tally};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Instant;

/// Steps of a scene at most.
const STEPS: usize = 120;
/// Attempts to make a scene smaller, at most.
const SHRINKS: u32 = 4000;

/// Plays scenes until so many frames have been played. `NETD_SEED` says where to begin, `NETD_SCENE` plays that one only.
///
/// # Panics
/// When a scene gives something else in the kernel, or when too few frames get far.
pub fn scenes_give_the_same(frames: usize) {
    let player = Player::new();
    if let Ok(text) = std::env::var("NETD_SCENE") {
        let scene = scene::parse(&text).expect("NETD_SCENE is a scene as a failure prints it");
        let (told, result) = player.tell(&scene);
        println!("{told}");
        return result.unwrap_or_else(|difference| panic!("{difference}"));
    }
    // Others every time.
    let seed = std::env::var("NETD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(monotonic_ns);
    println!("NETD_SEED={seed}");
    let began = Instant::now();
    let mut all = Tally::default();
    while all.frames < frames {
        // Each scene has a seed of its own, so that one that fails can be had at once.
        let seed = seed.wrapping_add(all.scenes as u64);
        match player.draw(seed) {
            Ok(tally) => all.add(&tally),
            Err(scene) => {
                let (told, result) = player.tell(&scene);
                let again = result.err().unwrap_or_else(|| "It does not fail every time.".to_owned());
                println!("{told}\n{again}");
                println!("this scene again: NETD_SCENE={}", scene::text(&scene));
                println!("as it was at first: NETD_SEED={seed}, after {} frames of {} scenes", all.frames, all.scenes);
                panic!("{again}");
            }
        }
    }
    println!("{all}{:.1} s", began.elapsed().as_secs_f64());
    assert!(all.reached > all.frames / 3, "most frames are stopped before much can happen to them");
}

struct Player {
    kernel: RefCell<Kernel>,
}

impl Player {
    fn new() -> Self {
        stay_quiet_when_asked();
        let mut kernel = Kernel::load(8192);
        kernel.compares_each = false;
        Self { kernel: RefCell::new(kernel) }
    }

    /// Plays the scene of a seed.
    ///
    /// # Errors
    /// The smallest scene found that fails, when it does.
    fn draw(&self, seed: u64) -> Result<Tally, Scene> {
        let config = Config { failure_persistence: None, max_shrink_iters: SHRINKS, ..Config::default() };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let tree = scenes().new_tree(&mut runner).expect("any numbers will do");
        let tally = RefCell::new(Tally::default());
        let result = runner.run_one(tree, |scene| {
            let mut played = Tally::default();
            self.play(&scene, &mut played, None).map_err(TestCaseError::fail)?;
            *tally.borrow_mut() = played;
            Ok(())
        });
        match result {
            Ok(_) => Ok(tally.into_inner()),
            Err(TestError::Fail(_, scene)) => Err(self.smaller(scene)),
            Err(TestError::Abort(reason)) => panic!("{reason}"),
        }
    }

    /// A smaller scene that fails, too, where steps or choices can still be left out: what can, changes with each that is.
    fn smaller(&self, mut scene: Scene) -> Scene {
        let mut left = SHRINKS;
        let mut fails = |scene: &Scene| {
            left = left.saturating_sub(1);
            left > 0 && self.play(scene, &mut Tally::default(), None).is_err()
        };
        loop {
            let before = scene.clone();
            // One step or two: an answer may count back over the ones between.
            for (first, second) in pairs(scene.steps.len()) {
                if second < scene.steps.len() {
                    let mut smaller = scene.clone();
                    smaller.steps.remove(second);
                    if first != second {
                        smaller.steps.remove(first);
                    }
                    if fails(&smaller) {
                        scene = smaller;
                    }
                }
            }
            // The world, and then the steps.
            for tape in 0..=scene.steps.len() {
                for at in 0..Scene::WORLD {
                    let mut smaller = scene.clone();
                    let number = smaller.tape(tape).get_mut(at).filter(|number| **number != 0);
                    if number.map(|number| *number = 0).is_some() && fails(&smaller) {
                        scene = smaller;
                    }
                }
            }
            if scene == before {
                return scene;
            }
        }
    }

    /// The scene in words, and what was wrong with it.
    fn tell(&self, scene: &Scene) -> (String, Result<(), String>) {
        let mut told = Vec::new();
        let result = self.play(scene, &mut Tally::default(), Some(&mut told));
        (told.join("\n"), result)
    }

    fn play(&self, scene: &Scene, tally: &mut Tally, told: Option<&mut Vec<String>>) -> Result<(), String> {
        QUIET.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            scene::play(scene, &mut *self.kernel.borrow_mut(), tally, told);
        }));
        QUIET.set(false);
        result.map_err(|payload| match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => (*payload.downcast::<&str>().unwrap_or_else(|_| Box::new("no text"))).to_owned(),
        })
    }
}

/// Every number below `len` with itself, the highest first, and then with every lower one.
fn pairs(len: usize) -> Vec<(usize, usize)> {
    let alone = (0..len).rev().map(|index| (index, index));
    let both = (0..len).rev().flat_map(|second| (0..second).rev().map(move |first| (first, second)));
    alone.chain(both).collect()
}

fn scenes() -> impl Strategy<Value = Scene> {
    let tape = |len: usize| vec(any::<u16>(), len);
    (tape(Scene::WORLD), vec(tape(Scene::STEP), 1..=STEPS)).prop_map(|(world, steps)| Scene { world, steps })
}

thread_local! {
    /// Whether panics of this thread say nothing: thousands of them are caught to make one scene smaller.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn stay_quiet_when_asked() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let speak = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                speak(info);
            }
        }));
    });
}
