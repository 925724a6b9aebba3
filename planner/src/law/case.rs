//! What accuracy is predicted for.

use crate::architecture::{Architecture, ImagePool};
use crate::recipe::{ImageReduction, Stage, TextReduction};
use crate::units::{Samples, Tokens};

/// A training that could be carried out: what, in which stages, on which data.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The two towers.
    pub architecture: &'a Architecture,
    /// Stages in order; the last one decides the length at which the model is evaluated.
    pub stages: &'a [StageShape],
    /// The training set.
    pub data: DataShape<'a>,
}

/// The parts of a training set that accuracy depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataShape<'a> {
    /// Name; the law knows the quality of the sets in [`crate::dataset`].
    pub name: &'a str,
    /// Different image-caption pairs.
    pub unique_samples: Samples,
}

/// The parts of a stage that accuracy depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageShape {
    /// Side of the image in pixels.
    pub image_size_px: u32,
    /// Patches that reach the transformer, without the class token.
    pub image_tokens: Tokens,
    /// Patches of this stage's image before any mask: (`image_size_px` / patch)². A model whose last stage
    /// this is will be evaluated at this length.
    pub full_image_tokens: Tokens,
    /// How the image sequence is shortened.
    pub image_reduction: ImageReduction,
    /// Fraction of patches dropped by a mask; 0 for `resize`.
    pub mask_ratio: f64,
    /// Text tokens.
    pub text_tokens: Tokens,
    /// How the text sequence is shortened.
    pub text_reduction: TextReduction,
    /// Samples seen in this stage.
    pub samples: Samples,
    /// Samples per step; 0: not known, counted as a batch that costs nothing.
    pub batch: u32,
}

impl StageShape {
    /// From a recipe's stage.
    #[must_use]
    pub fn of(stage: &Stage, architecture: &Architecture) -> Self {
        Self {
            image_size_px: stage.image_size_px,
            image_tokens: stage.image_tokens(architecture),
            full_image_tokens: architecture.vision_cfg.tokens_at(stage.image_size_px),
            image_reduction: stage.image_reduction,
            mask_ratio: stage.image_mask_ratio,
            text_tokens: stage.text_tokens,
            text_reduction: stage.text_reduction,
            samples: stage.samples,
            batch: stage.batch,
        }
    }
}

macro_rules! families {
    ($($variant:ident $name:literal $doc:literal;)*) => {
        /// Recipe family: whose code, augmentation, pooling and loss.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Family {
            $(#[doc = $doc] $variant,)*
        }

        impl Family {
            /// Every family, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name in `runs.csv` and `law.toml`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

families! {
    OpenClip "openclip" "OpenCLIP as released: class token, causal text, softmax loss (the reference)";
    ClipaGapJitter "clipa-gap-cj" "CLIPA with global average pooling and colour jitter: its released models";
    ClipaGap "clipa-gap" "CLIPA with global average pooling only";
    ClipaJitter "clipa-cj" "CLIPA with colour jitter only";
    ClipaCls "clipa-cls" "CLIPA's ablations: class token, no colour jitter";
    ClipaTorchCls "clipa-torch-cls" "CLIPA's PyTorch code, class token";
    ClipaConvNext "clipa-convnext" "CLIPA's ConvNeXt ablation";
    Flip "flip" "FLIP";
    SiglipSoftmax "siglip-softmax" "SigLIP's softmax baseline";
    SiglipSigmoid "siglip-sigmoid" "SigLIP, sigmoid loss";
    Metaclip "metaclip" "MetaCLIP's own training code";
    OpenAi "openai" "OpenAI CLIP";
    Eva "eva" "EVA-CLIP: towers pretrained by masked image modelling";
    LaionClip "laioncmp-clip" "Nezhurina et al., CLIP, tuned per cell";
    LaionSiglip "laioncmp-siglip" "Nezhurina et al., sigmoid loss, tuned per cell";
    LaionMammut "laioncmp-mammut" "Nezhurina et al., MaMMUT (with captioning loss)";
    LaionCoca "laioncmp-coca" "Nezhurina et al., CoCa (with captioning loss)";
}

impl Family {
    /// The family of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| family.name() == name)
    }

    /// The family whose recipe a training with this architecture follows: average pooling is CLIPA's released
    /// recipe, a class token that of its ablations.
    #[must_use]
    pub fn of(architecture: &Architecture) -> Self {
        match architecture.vision_cfg.pool_type {
            ImagePool::Avg => Self::ClipaGapJitter,
            // No run here pools by attention: it counts as the nearest, a class token.
            ImagePool::Tok | ImagePool::Attention(_) => Self::ClipaCls,
        }
    }

    /// Index into [`Family::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
