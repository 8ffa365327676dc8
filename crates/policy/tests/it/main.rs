//! Decisions compared, one by one, with those of upstream's own policies (`record_matrix.py`), and the files of
//! operators: reloading, and what is said of mistakes.

mod files;
mod matrix;
