package import Kernels

/// Where stages compute that run networks: one lane of the processor for each slot, because a worker has a slot for each core
/// that it may use. Bits do not depend on lanes.
package enum SlotDevice {
    package static let shared: any ComputeDevice = CPUDevice(lanes: 1)
}
