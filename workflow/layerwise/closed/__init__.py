"""What closed-form fits share: the driver that goes up a segment, the inputs of a layer, sums over processes."""
