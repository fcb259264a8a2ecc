"""What the folder of a job holds: its plan, record, parts, and the signs of its drivers."""
