//! Answers how every ad is doing.
