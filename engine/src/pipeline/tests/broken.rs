//! Broken files and what is reported.
