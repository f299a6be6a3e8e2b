// SPDX-License-Identifier: GPL-2.0

//! Hibernating and resuming, in every way there is.

use crate::Scenario;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[];
