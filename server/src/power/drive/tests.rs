//! A machine made of a script: it does, lies, is deaf, or forgets, as told.

use super::*;
use crate::power::Attempt;
use std::sync::Mutex;

#[derive(Debug)]
struct Double {
    /// What it is told, in order.
    told: Mutex<Vec<&'static str>>,
    on: Mutex<bool>,
    how: How,
    /// So many answers get lost.
    lost: Mutex<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct How {
    /// Orders are answered OK and not followed.
    lies: bool,
    /// The operating system does not care about the power button.
    stubborn: bool,
    /// There is no power button.
    no_soft: bool,
    /// Lost orders are heard all the same.
    heard: bool,
    wrong_password: bool,
}

impl Double {
    fn new(on: bool, how: How, lost: u32) -> Self {
        Self { told: Mutex::default(), on: Mutex::new(on), how, lost: Mutex::new(lost) }
    }

    fn tell(&self, what: What, word: &'static str, to: Option<bool>) -> Result<(), PowerError> {
        self.told.lock().unwrap().push(word);
        let failed = |trouble| Err(PowerError::new(trouble, what, "double", "no"));
        if self.how.wrong_password {
            return failed(Trouble::Auth);
        }
        let mut lost = self.lost.lock().unwrap();
        let deaf = *lost > 0 && what != What::Status;
        if (!deaf || self.how.heard)
            && !self.how.lies
            && let Some(to) = to
        {
            *self.on.lock().unwrap() = to;
        }
        if deaf {
            *lost -= 1;
            return failed(Trouble::Timeout);
        }
        Ok(())
    }

    fn words(&self) -> Vec<&'static str> {
        let mut words = self.told.lock().unwrap().clone();
        words.retain(|word| *word != "status");
        words
    }
}

impl Power for Double {
    fn how(&self) -> String {
        "double".into()
    }

    fn status(&self, _: &mut dyn Attempts) -> Result<PowerState, PowerError> {
        self.tell(What::Status, "status", None)?;
        Ok(if *self.on.lock().unwrap() { PowerState::On } else { PowerState::Off })
    }

    fn on(&self, _: &mut dyn Attempts) -> Result<(), PowerError> {
        self.tell(What::On, "on", Some(true))
    }

    fn soft_off(&self, _: &mut dyn Attempts) -> Result<(), PowerError> {
        if self.how.no_soft {
            return Err(PowerError::new(Trouble::Unsupported, What::SoftOff, "double", "no button"));
        }
        self.tell(What::SoftOff, "soft", (!self.how.stubborn).then_some(false))
    }

    fn hard_off(&self, _: &mut dyn Attempts) -> Result<(), PowerError> {
        self.tell(What::HardOff, "hard", Some(false))
    }

    fn next_boot_network(&self, uefi: bool, _: &mut dyn Attempts) -> Result<NextBoot, PowerError> {
        self.tell(What::NextBoot, if uefi { "uefi" } else { "bios" }, None)?;
        Ok(NextBoot::Set)
    }
}

fn quick() -> Limits {
    let ms = Duration::from_millis;
    Limits { soft_off: ms(60), settle: ms(60), look: ms(5) }
}

fn log() -> Vec<Attempt> {
    Vec::new()
}

const FORCE: Order = Order { force_off: true, network: Some(true) };
const GENTLE: Order = Order { force_off: false, network: Some(false) };

#[test]
fn a_cycle_is_soft_off_next_boot_on() {
    let machine = Double::new(true, How::default(), 0);
    let driven = cycle(&machine, GENTLE, &quick(), &mut log()).unwrap();
    assert_eq!((driven.state, driven.next_boot), (PowerState::On, Some(NextBoot::Set)));
    assert_eq!(machine.words(), ["soft", "bios", "on"]);
    // A machine that is off is only started.
    let machine = Double::new(false, How::default(), 0);
    cycle(&machine, FORCE, &quick(), &mut log()).unwrap();
    assert_eq!(machine.words(), ["uefi", "on"]);
}

#[test]
fn hard_off_happens_only_where_it_is_allowed() {
    for how in [How { stubborn: true, ..How::default() }, How { no_soft: true, ..How::default() }] {
        let machine = Double::new(true, how, 0);
        let refused = off(&machine, GENTLE, &quick(), &mut log()).unwrap_err();
        assert!(matches!(refused.trouble, Trouble::Refused | Trouble::Unsupported), "{refused}");
        assert!(refused.said.contains("--force-off"), "{refused}");
        assert!(!machine.words().contains(&"hard"));
        let driven = off(&machine, FORCE, &quick(), &mut log()).unwrap();
        assert_eq!(driven.state, PowerState::Off);
        assert!(driven.notes[0].contains("switched off hard"), "{driven:?}");
    }
}

#[test]
fn an_ok_that_changes_nothing_is_a_lie() {
    let liar = How { lies: true, ..How::default() };
    let error = on(&Double::new(false, liar, 0), FORCE, &quick(), &mut log()).unwrap_err();
    assert_eq!((error.trouble, error.what), (Trouble::LiesOk, What::On));
    assert!(error.said.contains("answered OK, and the state is still off"), "{error}");
    let error = off(&Double::new(true, liar, 0), FORCE, &quick(), &mut log()).unwrap_err();
    assert_eq!((error.trouble, error.what), (Trouble::LiesOk, What::HardOff));
}

#[test]
fn a_lost_answer_proves_nothing_either_way() {
    let heard = Double::new(false, How { heard: true, ..How::default() }, 1);
    on(&heard, Order::default(), &quick(), &mut log()).unwrap();
    assert_eq!(heard.words(), ["on"], "it was on: no second order");
    let deaf = Double::new(false, How::default(), 2);
    on(&deaf, Order::default(), &quick(), &mut log()).unwrap();
    assert_eq!(deaf.words(), ["on", "on", "on"]);
    let gone = Double::new(false, How::default(), 99);
    let error = on(&gone, Order::default(), &quick(), &mut log()).unwrap_err();
    assert_eq!(error.trouble, Trouble::Timeout);
    assert_eq!(gone.words().len(), 3);
}

#[test]
fn a_wrong_password_is_tried_once() {
    let machine = Double::new(true, How { wrong_password: true, ..How::default() }, 0);
    assert_eq!(cycle(&machine, FORCE, &quick(), &mut log()).unwrap_err().trouble, Trouble::Auth);
    assert_eq!(*machine.told.lock().unwrap(), ["status"]);
}

#[test]
fn a_machine_that_is_on_is_not_switched_on() {
    let machine = Double::new(true, How::default(), 0);
    let driven = on(&machine, FORCE, &quick(), &mut log()).unwrap();
    assert_eq!((driven.next_boot, driven.notes), (None, vec!["it was on already".to_owned()]));
    assert!(machine.words().is_empty());
}

struct Impatient(Vec<Attempt>);

impl Attempts for Impatient {
    fn note(&mut self, attempt: Attempt) {
        self.0.push(attempt);
    }

    fn stopped(&self) -> bool {
        true
    }
}

#[test]
fn waiting_ends_when_nobody_wants_it_any_more() {
    let machine = Double::new(true, How { stubborn: true, ..How::default() }, 0);
    let slow = Limits { soft_off: Duration::from_secs(60), ..quick() };
    let began = Instant::now();
    let error = off(&machine, FORCE, &slow, &mut Impatient(Vec::new())).unwrap_err();
    assert_eq!(error.trouble, Trouble::Stopped);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(!machine.words().contains(&"hard"), "stopped means stopped");
}
