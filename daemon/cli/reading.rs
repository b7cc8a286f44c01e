//! Arguments that say how a file of tiles or sequences is to be read: the same for `dasha` and for `predict`.

use forecastd_models::dasha::{CellFormat, PixelLayout};

use crate::intake::samples::{ColumnNames, PixelType};

/// Which columns mean what, and how cells are laid out.
#[derive(Debug, clap::Args)]
pub(super) struct Reading {
    /// The column of tiles or sequences [default: the one called image, tile, sequence or the like].
    #[arg(long, visible_alias = "sequence", value_name = "COL")]
    image: Option<String>,
    /// The column of labels or masks [default: the one called label, class, labels, mask, target or the like].
    #[arg(long, value_name = "COL")]
    label: Option<String>,
    /// The column that says what the labels of --task classify are called, where they are numbers [default: label_name,
    /// if there is one].
    #[arg(long, value_name = "COL")]
    label_name: Option<String>,
    /// A column that tells samples apart.
    #[arg(long, value_name = "COL")]
    id: Option<String>,
    /// What raw pixels are [default: u8]. PNG and JPEG say it themselves.
    #[arg(long, value_enum, value_name = "TYPE")]
    dtype: Option<Dtype>,
    /// How raw pixels are laid out: all bands of a pixel together, or all pixels of a band [default: hwc, or as the
    /// network was trained on].
    #[arg(long, value_enum)]
    layout: Option<Layout>,
    /// Greys above it are class 1 of a mask, others class 0 [default: a mask has the numbers of classes, from 0; 255 is
    /// none; or as the network was trained on].
    #[arg(long, value_name = "GREY")]
    mask_threshold: Option<u8>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Dtype {
    U8,
    U16,
    I16,
    F32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Layout {
    Hwc,
    Chw,
}

impl Reading {
    /// The columns.
    pub(super) fn columns(&self, split: Option<&str>) -> ColumnNames {
        ColumnNames {
            input: self.image.clone(),
            label: self.label.clone(),
            label_name: self.label_name.clone(),
            split: split.map(str::to_owned),
            id: self.id.clone(),
        }
    }

    /// The column of ids.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What raw pixels are.
    pub(super) fn pixel(&self) -> Option<PixelType> {
        self.dtype.map(|dtype| match dtype {
            Dtype::U8 => PixelType::U8,
            Dtype::U16 => PixelType::U16,
            Dtype::I16 => PixelType::I16,
            Dtype::F32 => PixelType::F32,
        })
    }

    /// What cells do not say of themselves: as was asked, and `otherwise` where nothing was.
    pub(super) fn cells(&self, otherwise: CellFormat) -> CellFormat {
        let layout = self.layout.map(|layout| match layout {
            Layout::Hwc => PixelLayout::Hwc,
            Layout::Chw => PixelLayout::Chw,
        });
        CellFormat {
            layout: layout.unwrap_or(otherwise.layout),
            mask_threshold: self.mask_threshold.or(otherwise.mask_threshold),
        }
    }
}
