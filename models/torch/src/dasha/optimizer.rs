//! Optimisers whose state can be saved and restored to the bit. libtorch's own keep it to themselves.

use tch::{Kind, Tensor};

/// How a step is made of a gradient, after PyTorch's `torch.optim`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent with Nesterov's step.
    Sgd {
        /// Of earlier steps, so much stays.
        momentum: f64,
        /// Pull of the weights to zero, added to the gradient.
        weight_decay: f64,
    },
    /// Adam with decoupled decay (arXiv 1711.05101): betas 0.9 and 0.999, epsilon 1e-8.
    AdamW {
        /// Pull of the weights to zero, beside the gradient.
        weight_decay: f64,
    },
}

const BETAS: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-8;

/// Moves some tensors along their gradients.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    parameters: Vec<Tensor>,
    /// For each parameter: of SGD its velocity, of Adam the means of gradients and of their squares.
    moments: Vec<Vec<Tensor>>,
    /// Steps so far; Adam corrects its means by it.
    steps: i64,
}

impl Optimizer {
    /// At rest.
    pub fn new(rule: Rule, parameters: Vec<Tensor>) -> Self {
        let count = match rule {
            Rule::Sgd { .. } => 1,
            Rule::AdamW { .. } => 2,
        };
        let at_rest = |parameter: &Tensor| tch::no_grad(|| (0..count).map(|_| parameter.zeros_like()).collect());
        Self {
            moments: parameters.iter().map(at_rest).collect(),
            rule,
            parameters,
            steps: 0,
        }
    }

    /// What is moved.
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// Forgets the gradients.
    pub fn zero_grad(&mut self) {
        for parameter in &mut self.parameters {
            parameter.zero_grad();
        }
    }

    /// One step. A parameter without a gradient stays.
    pub fn step(&mut self, rate: f64) {
        let _guard = tch::no_grad_guard();
        self.steps += 1;
        for (parameter, moments) in self.parameters.iter_mut().zip(&mut self.moments) {
            let gradient = parameter.grad();
            if gradient.defined() {
                move_along(self.rule, parameter, &gradient, moments, rate, self.steps);
            }
        }
    }

    /// All that a later process needs to go on, by name.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = vec![("steps".to_owned(), Tensor::from_slice(&[self.steps]))];
        for (parameter, moments) in self.moments.iter().enumerate() {
            let named = moments.iter().enumerate();
            state.extend(named.map(|(kind, moment)| (format!("{parameter}.{kind}"), moment.shallow_clone())));
        }
        state
    }

    /// Goes on where another stood.
    ///
    /// # Errors
    ///
    /// The name of what is missing, or has another shape.
    pub fn restore(&mut self, take: &dyn Fn(&str) -> Option<Tensor>) -> Result<(), String> {
        let steps = take("steps").ok_or("steps")?;
        self.steps = steps.int64_value(&[0]);
        for (parameter, moments) in self.moments.iter_mut().enumerate() {
            for (kind, moment) in moments.iter_mut().enumerate() {
                let name = format!("{parameter}.{kind}");
                let saved = take(&name).filter(|saved| saved.size() == moment.size());
                let saved = saved.ok_or(name)?;
                tch::no_grad(|| moment.copy_(&saved));
            }
        }
        Ok(())
    }
}

fn move_along(rule: Rule, parameter: &mut Tensor, gradient: &Tensor, moments: &mut [Tensor], rate: f64, steps: i64) {
    match rule {
        Rule::Sgd { momentum, weight_decay } => {
            let pulled = gradient + &*parameter * weight_decay;
            let velocity = &mut moments[0];
            let _ = velocity.g_mul_scalar_(momentum).g_add_(&pulled);
            let step = pulled + &*velocity * momentum;
            let _ = parameter.g_sub_(&(step * rate));
        }
        Rule::AdamW { weight_decay } => {
            let _ = parameter.g_mul_scalar_(1.0 - rate * weight_decay);
            let [mean, square] = moments else {
                unreachable!("Adam has two moments for each parameter")
            };
            let _ = mean.g_mul_scalar_(BETAS.0).g_add_(&(gradient * (1.0 - BETAS.0)));
            let squared = gradient * gradient * (1.0 - BETAS.1);
            let _ = square.g_mul_scalar_(BETAS.1).g_add_(&squared);
            let corrections = (1.0 - BETAS.0.powi(steps as i32), 1.0 - BETAS.1.powi(steps as i32));
            let deviation = square.sqrt() / corrections.1.sqrt() + EPSILON;
            let _ = parameter.g_sub_(&(&*mean / deviation * (rate / corrections.0)));
        }
    }
}

/// Shortens all gradients together to length `most`, as PyTorch's `clip_grad_norm_` does. The device is not waited
/// for.
pub fn clip_gradients<'a>(parameters: impl Iterator<Item = &'a Tensor>, most: f64) {
    let _guard = tch::no_grad_guard();
    let gradients: Vec<Tensor> = parameters.map(Tensor::grad).filter(Tensor::defined).collect();
    if gradients.is_empty() {
        return;
    }
    let lengths: Vec<Tensor> = gradients.iter().map(Tensor::norm).collect();
    let length = Tensor::stack(&lengths, 0).to_kind(Kind::Float).norm();
    let factor = ((length + 1e-6).reciprocal() * most).clamp_max(1.0);
    for mut gradient in gradients {
        let _ = gradient.g_mul_(&factor);
    }
}
