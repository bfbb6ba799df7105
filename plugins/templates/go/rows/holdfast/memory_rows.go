package holdfast

// memoryCursor hands out rows that are made up in memory.
type memoryCursor struct {
	rows         []Row
	columns      Columns
	position     int
	damagedAfter int
}

// Next hands out two rows at once: what holds across small batches holds across large ones.
func (c *memoryCursor) Next() (Batch, error) {
	var batch Batch
	for range 2 {
		if c.position == len(c.rows) {
			break
		}
		if c.damagedAfter > 0 && c.position >= c.damagedAfter {
			if len(batch.KeyEnds) > 0 {
				break
			}
			return Batch{}, &ReadError{"damaged", "the file breaks off"}
		}
		row := c.rows[c.position]
		c.position++
		batch.Keys = append(batch.Keys, row.Key...)
		batch.KeyEnds = append(batch.KeyEnds, uint32(len(batch.Keys)))
		if c.columns != Keys {
			batch.Values = append(batch.Values, row.Value...)
			batch.ValueEnds = append(batch.ValueEnds, uint32(len(batch.Values)))
		}
		if c.columns == AllColumns {
			batch.CreateRevisions = append(batch.CreateRevisions, row.CreateRevision)
			batch.ModRevisions = append(batch.ModRevisions, row.ModRevision)
			batch.Versions = append(batch.Versions, row.Version)
			batch.Leases = append(batch.Leases, row.Lease)
		}
	}
	return batch, nil
}

func (c *memoryCursor) Close() {}
