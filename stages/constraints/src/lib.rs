//! Verifiable constraints: check and exact reversal, side by side.
