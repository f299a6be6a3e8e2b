// SPDX-License-Identifier: GPL-2.0

//! Devices that did not answer, and for how long that is remembered.

use dormouse_host::silent::Silent;

const DEV: u32 = 8 << 20 | 1;

#[test]
fn one_that_did_not_answer_is_known_for_a_while() {
    let silent = Silent::new();
    assert!(!silent.is_known(DEV, 5));
    silent.note(DEV, 5);
    assert!(silent.is_known(DEV, 5));
    assert!(silent.is_known(DEV, 125));
    assert!(!silent.is_known(DEV, 126));
    assert!(!silent.is_known(DEV + 1, 5));
    // Once more: from then on.
    silent.note(DEV, 126);
    assert!(silent.is_known(DEV, 200));
}

#[test]
fn one_that_answers_is_forgotten() {
    let silent = Silent::new();
    silent.note(DEV, 5);
    silent.note(DEV + 1, 5);
    silent.forget(DEV);
    assert!(!silent.is_known(DEV, 5));
    assert!(silent.is_known(DEV + 1, 5));
}

#[test]
fn there_is_room_again_when_the_first_are_old() {
    let silent = Silent::new();
    for dev in 1..=100 {
        silent.note(dev, 1);
    }
    let known = |second| {
        (1..=100)
            .filter(|&dev| silent.is_known(dev, second))
            .count()
    };
    assert_eq!(known(1), 16);
    silent.note(DEV, 100);
    assert!(!silent.is_known(DEV, 100), "there was no room");
    silent.note(DEV, 200);
    assert!(silent.is_known(DEV, 200));
    assert_eq!(known(200), 0);
}
