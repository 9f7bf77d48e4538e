//! Gradients of the DPO loss for every family, against float64 autograd of transformers
//! (`scripts/make-family-fixtures`).

#[path = "../../model/tests/support/families.rs"]
mod families;

use families::{Inputs, Model};
use retmask_model::Numerics;
use retmask_model::decoder::Purpose;
use retmask_model::train::{Gradients, TrainingSequence};
use retmask_stages::dpo::Parameters;

/// ||g − g64|| / ||g64|| of every parameter, and the difference of the loss, which moves by beta times a sum of up to 96
/// log-probabilities. In f32: sums of a few hundred rows. In bf16: every product reads factors that are off by up to 2^-9,
/// and a dozen follow one another from the embedding to the head and back; what both sides of a pair have in common cancels,
/// and what is left is as much less exact. A log-probability is off by 0.053 (root of the mean square, of the family that
/// is off most); the 96 and the 29 of the two pairs, at random, by 0.52 and 0.29; times beta of 0.3 and a slope of one
/// half, the mean loss by 0.045, of which three times are allowed.
fn tolerances(numerics: Numerics) -> (f64, f64) {
    match numerics {
        Numerics::F32 => (2e-4, 1e-4),
        Numerics::Bf16 => (0.15, 0.135),
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

#[test]
fn gradients_of_the_dpo_loss_are_those_of_transformers() {
    let inputs = Inputs::read();
    let sequences: Vec<TrainingSequence> = inputs
        .pairs
        .iter()
        .flat_map(|pair| [&pair.chosen, &pair.rejected].map(|side| (&pair.prompt, side)))
        .map(|(prompt, side)| {
            let ids = [prompt.as_slice(), side].concat();
            let scored = (0..ids.len()).map(|position| position >= prompt.len()).collect();
            TrainingSequence { ids, scored, masked_heads: None }
        })
        .collect();
    for (model, numerics) in Model::all().iter().flat_map(|model| Numerics::ALL.map(|numerics| (model, numerics))) {
        let decoder = model.decoder(Purpose::Training(numerics));
        let (tolerance, of_loss) = tolerances(numerics);
        let reference = model.reference["dpo.reference"].chunks_exact(2).map(|sums| [sums[0], sums[1]]).collect();
        let parameters = Parameters { beta: inputs.beta, ..Parameters::default() };
        let loss = parameters.objective(reference, inputs.pairs.len());
        let mut gradients = Gradients::new(&decoder).expect("a decoder for training");
        let evaluation = gradients.accumulate(&decoder, &sequences, &loss).expect("gradients");
        let expected = model.reference["dpo.loss"][0];
        let difference = (evaluation.loss - expected).abs();
        assert!(difference < of_loss, "{}, {numerics}: {} {expected}", model.name, evaluation.loss);
        let mut worst = (0.0, "");
        for (name, found) in gradients.named() {
            let expected = &model.reference[&format!("gradient.{name}")];
            assert_eq!(found.len(), expected.len(), "{name}");
            let difference = norm(found.iter().zip(expected).map(|(&found, expected)| f64::from(found) - expected));
            let share = difference / norm(expected.iter().copied());
            assert!(share <= tolerance, "{}, {numerics}, {name}: {share}", model.name);
            if share > worst.0 {
                worst = (share, name);
            }
        }
        println!("{:<20} DPO gradients in {numerics:<4}  {:.1e} ({})", model.name, worst.0, worst.1);
        let references = model.reference.keys().filter(|key| key.starts_with("gradient.")).count();
        assert_eq!(references, gradients.named().count(), "{}: every parameter has a reference", model.name);
    }
}
