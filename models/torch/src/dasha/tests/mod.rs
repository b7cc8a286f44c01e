//! What trains, beside PyTorch's statement of the same (`tests/reference/training.py`), and on tasks with a known
//! answer. Runs as a whole are in `tests/dasha.rs`.

mod learning;
mod optimizers;
