//! Verifiable constraints: check, exact reversal and wording, side by side.
//!
//! A [`Constraint`] is decided by a program, not by a judge. Its [reverse](Constraint::reverse) is
//! its exact complement: on every text that is not [blank](is_blank) exactly one of the two holds.
//! A blank text satisfies neither, save where Multi-IF's reading says otherwise.
//!
//! Two families are known, listed by [`Constraint::types`]: the 25 IFEval types (ids such as
//! `length_constraints:number_words`, arguments named as there, decided as the public scorer
//! decides them) and plain types (`words`, `comma`, ...) for small examples. Every type lives in a
//! file of its own: what it looks for, its arguments and its wording in both polarities.
//!
//! Some IFEval types rest on Python libraries, which are ported: langdetect finds the language,
//! NLTK's [`Punkt`] the sentences and its Treebank tokeniser the words. Punkt's parameters are the
//! crate's own unless NLTK's are given. Multi-IF scores a few types otherwise:
//! [`Constraint::from_multi_if`].
//!
//! ```
//! use obvert_constraints::Constraint;
//!
//! let json = serde_json::json!({"type": "words", "at_least": 3});
//! let constraint = Constraint::from_json(&json)?;
//! assert_eq!(constraint.text(), "Write at least 3 words.");
//! assert!(constraint.check("The river is wide."));
//!
//! let reverse = constraint.reverse();
//! assert_eq!(reverse.text(), "Write at most 2 words.");
//! assert_eq!(reverse.to_json(), serde_json::json!({"type": "words", "at_most": 2}));
//! assert!(!reverse.check("The river is wide."));
//! assert_eq!(reverse.reverse(), constraint);
//! # Ok::<(), obvert_constraints::Error>(())
//! ```

mod args;
mod constraint;
mod error;
mod ifeval;
mod kinds;
mod langdetect;
mod loose;
mod multi_if;
mod pattern;
mod plain;
mod punkt;
mod python;
mod reading;
mod recognise;
mod rule;
mod translate;
mod treebank;
mod wording;

pub use constraint::Constraint;
pub use error::Error;
pub use punkt::Punkt;
pub use python::is_blank;
