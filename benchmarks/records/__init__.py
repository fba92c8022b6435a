"""What a measurement leaves behind: the record, the machine, the table and the plot."""
