"""From the record to a better version: pairs, training, the gate, and what serves."""
