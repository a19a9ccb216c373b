package wire

// arrival gathers the body of one reply while it is read, for whoever wants it
// the moment its last byte was. net/http hands a reply from one goroutine to
// another before the body can be read; on a machine that is short of processors
// each of them waits for its turn, with a token that nobody else has.
type arrival struct {
	came    func(body []byte)
	buffers *buffers
	buf     *[]byte // nil before the first byte
	tooLong bool
}

// take adds a part. Called with the connection's lock held.
func (a *arrival) take(part []byte) {
	if a.buf == nil {
		a.buf = a.buffers.get()
	}
	if a.tooLong || len(*a.buf)+len(part) > maxBody {
		a.tooLong = true
		return
	}
	data := *a.buf
	for cap(data)-len(data) < len(part) {
		data = grow(data)
	}
	*a.buf = append(data, part...)
}

// end is called when the reply has ended, and reports whether it told of it; on
// nil it does nothing.
func (a *arrival) end() (told bool) {
	if a == nil || a.buf == nil {
		return false
	}
	if body := *a.buf; !a.tooLong && !isGzip(body) {
		a.came(body)
		told = true
	}
	a.drop()
	return told
}

// drop wipes what was gathered, and gives the memory back.
func (a *arrival) drop() {
	if a.buf != nil {
		a.buffers.put(a.buf)
	}
}
