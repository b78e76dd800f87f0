"""How well a filter agrees with labels of pairs, or with what people said of them."""
