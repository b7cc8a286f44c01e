//! Tests of what trains, beside other people's statements of the same.
