//! A quantised matrix as candle multiplies it, for the benchmarks that measure ours against it.

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Tensor};

use crate::dtype::ElementType;
use crate::error::ComputeError;
use crate::kernel::BLOCK;
use crate::rows::Rows;

/// A matrix in candle's own memory, repacked as it likes.
pub(crate) struct CandleMatrix(QMatMul);

impl CandleMatrix {
    /// Copies `(outputs, inner)` stored weights; `None` where they are floats.
    pub(crate) fn of(
        dtype: ElementType,
        stored: &[u8],
        (outputs, inner): (usize, usize),
    ) -> Option<candle_core::Result<Self>> {
        let kind = kind(dtype)?;
        let make = || {
            let storage = QStorage::from_data(stored.to_vec().into(), &Device::Cpu, kind)?;
            let tensor = QTensor::new(storage, (outputs, inner))?;
            Ok(Self(QMatMul::from_qtensor(tensor)?))
        };
        Some(make())
    }

    /// `(rows, inner)` to `(rows, outputs)`.
    pub(crate) fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.0.forward(x)
    }

    /// The same of rows: the `count` outputs from `first` on, which are there.
    pub(crate) fn multiply(&self, x: &Rows, (first, count): (usize, usize)) -> Result<Rows, ComputeError> {
        // Its products of some types panic there.
        if !x.width().is_multiple_of(2 * BLOCK) {
            return Err(ComputeError::Candle(format!(
                "rows of {} values are an odd number of blocks",
                x.width()
            )));
        }
        let multiply = || {
            let x = Tensor::from_slice(x.values(), (x.len(), x.width()), &Device::Cpu)?;
            self.apply(&x)?.narrow(1, first, count)?.flatten_all()?.to_vec1::<f32>()
        };
        Rows::from_values(count, multiply().map_err(|e| ComputeError::Candle(e.to_string()))?)
    }
}

const fn kind(dtype: ElementType) -> Option<GgmlDType> {
    Some(match dtype {
        ElementType::F32 | ElementType::F16 | ElementType::Bf16 => return None,
        ElementType::Q8_0 => GgmlDType::Q8_0,
        ElementType::Q4_0 => GgmlDType::Q4_0,
        ElementType::Q5_0 => GgmlDType::Q5_0,
        ElementType::Q5_1 => GgmlDType::Q5_1,
        ElementType::Q4K => GgmlDType::Q4K,
        ElementType::Q5K => GgmlDType::Q5K,
        ElementType::Q6K => GgmlDType::Q6K,
    })
}
