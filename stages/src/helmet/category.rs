//! HELMET's categories: which numbers each one averages.

/// A category and the (dataset, metric) pairs whose unweighted mean it is.
#[derive(Debug, Clone, Copy)]
pub struct Category {
    pub name: &'static str,
    pub measures: &'static [(&'static str, &'static str)],
}

/// All categories in the paper's order (Yen et al. 2024, arXiv 2410.02694). The overall score is the unweighted
/// mean of their means.
pub const CATEGORIES: &[Category] = &[
    Category {
        name: "Recall",
        measures: &[
            ("json_kv", "substring_exact_match"),
            ("ruler_niah_mk_2", "ruler_recall"),
            ("ruler_niah_mk_3", "ruler_recall"),
            ("ruler_niah_mv", "ruler_recall"),
        ],
    },
    Category {
        name: "RAG",
        measures: &[
            ("kilt_nq", "substring_exact_match"),
            ("kilt_triviaqa", "substring_exact_match"),
            ("kilt_hotpotqa", "substring_exact_match"),
            ("kilt_popqa_3", "substring_exact_match"),
        ],
    },
    Category {
        name: "Cite",
        measures: &[
            ("alce_asqa", "str_em"),
            ("alce_asqa", "citation_rec"),
            ("alce_asqa", "citation_prec"),
            ("alce_qampari", "qampari_rec_top5"),
            ("alce_qampari", "citation_rec"),
            ("alce_qampari", "citation_prec"),
        ],
    },
    Category { name: "Re-rank", measures: &[("msmarco_rerank_psg", "NDCG@10")] },
    Category {
        name: "LongQA",
        measures: &[
            ("narrativeqa", "gpt-4-score"),
            ("infbench_qa_eng", "rougeL_f1"),
            ("infbench_choice_eng", "exact_match"),
        ],
    },
    Category { name: "Summ", measures: &[("infbench_sum_eng", "gpt-4-f1"), ("multi_lexsum", "gpt-4-f1")] },
    Category {
        name: "ICL",
        measures: &[
            ("icl_trec_coarse", "exact_match"),
            ("icl_trec_fine", "exact_match"),
            ("icl_banking77", "exact_match"),
            ("icl_clinic150", "exact_match"),
            ("icl_nlu", "exact_match"),
        ],
    },
];

/// The category a dataset belongs to.
pub fn of(dataset: &str) -> Option<&'static Category> {
    CATEGORIES.iter().find(|category| category.measures.iter().any(|&(name, _)| name == dataset))
}

#[cfg(test)]
mod tests {
    use super::super::dataset;
    use super::*;

    #[test]
    fn every_dataset_has_a_category_and_reports_its_metric() {
        let none = ["".to_owned()];
        let facts = serde_json::json!({"qrel": [["1", 1]], "qa_pairs": [["a"]], "answers": [["a"]]});
        for dataset in dataset::ALL {
            let category = of(dataset.name()).unwrap();
            let answered = dataset::Answered { output: "", answers: &none, facts: facts.as_object().unwrap() };
            let mut metrics: Vec<&str> = dataset.score(answered).unwrap().iter().map(|(name, _)| *name).collect();
            metrics.extend(dataset.outside().map_or(&[][..], |outside| outside.metrics()));
            for (_, metric) in category.measures.iter().filter(|(name, _)| *name == dataset.name()) {
                assert!(metrics.contains(metric), "{} has no {metric}", dataset.name());
            }
        }
        assert_eq!(dataset::ALL.len(), 21);
    }

    #[test]
    fn the_benchmark_has_21_datasets_in_7_categories() {
        let mut names: Vec<&str> =
            CATEGORIES.iter().flat_map(|category| category.measures.iter().map(|(name, _)| *name)).collect();
        names.dedup();
        assert_eq!((CATEGORIES.len(), names.len()), (7, 21));
    }
}
