"""Questions as people read and answer them. Pure: forms from the contract's types, and values as readable fields."""
