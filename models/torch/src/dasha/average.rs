//! A running average of weights, and of the statistics of batch normalisation with them.

use std::collections::BTreeMap;

use tch::Tensor;

/// Exponential, and quicker at the start: after `t` steps `min(decay, (1 + t) / (10 + t))` of it stays, so that the
/// random first weights are soon forgotten.
#[derive(Debug)]
pub struct Average {
    decay: f64,
    steps: i64,
    variables: BTreeMap<String, Tensor>,
}

impl Average {
    /// Begins with these.
    pub fn new(decay: f64, variables: &BTreeMap<String, Tensor>) -> Self {
        let copied = |(name, variable): (&String, &Tensor)| (name.clone(), variable.detach().copy());
        Self {
            decay,
            steps: 0,
            variables: tch::no_grad(|| variables.iter().map(copied).collect()),
        }
    }

    /// Moves towards these, which must be the ones that it began with.
    pub fn update(&mut self, variables: &BTreeMap<String, Tensor>) {
        let steps = self.steps as f64;
        let kept = self.decay.min((1.0 + steps) / (10.0 + steps));
        self.steps += 1;
        tch::no_grad(|| {
            for (average, variable) in self.variables.values_mut().zip(variables.values()) {
                let _ = average.lerp_(&variable.detach(), 1.0 - kept);
            }
        });
    }

    /// The averages.
    pub fn variables(&self) -> &BTreeMap<String, Tensor> {
        &self.variables
    }

    /// Steps so far; with the averages all that a later process needs.
    pub fn steps(&self) -> i64 {
        self.steps
    }

    /// Goes on where another stood, after so many steps; `saved` gives each average by its name.
    ///
    /// # Errors
    ///
    /// The name of what is missing, or has another shape.
    pub fn restore(&mut self, steps: i64, saved: &dyn Fn(&str) -> Option<Tensor>) -> Result<(), String> {
        self.steps = steps;
        let _guard = tch::no_grad_guard();
        for (name, average) in &mut self.variables {
            let saved = saved(name).filter(|saved| saved.size() == average.size());
            average.copy_(&saved.ok_or_else(|| name.clone())?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_weights_are_soon_forgotten_and_later_ones_slowly() {
        let of = |value: f32| BTreeMap::from([("weight".to_owned(), Tensor::from_slice(&[value]))]);
        let mut average = Average::new(0.9, &of(0.0));
        let value = |average: &Average| average.variables()["weight"].double_value(&[0]);
        average.update(&of(1.0));
        assert!((value(&average) - 0.9).abs() < 1e-6, "a tenth stays at first");
        for _ in 0..200 {
            average.update(&of(1.0));
        }
        average.update(&of(2.0));
        assert!((value(&average) - 1.1).abs() < 1e-3, "nine tenths stay in the end");
    }
}
