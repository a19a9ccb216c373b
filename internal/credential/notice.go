package credential

// Notice is what an event tells that is about the delivery of events, and not
// about a credential. Such an event belongs to no version: its Version is 0,
// and its Nonce is the ULID that is its ID.
type Notice struct {
	Subscription string
	Since        Millis // when it was disabled, or was seen to lag
	Oldest       Millis // when the oldest event was committed that it is still owed
	Event        string // ID of the event that could not be delivered; "" where it is not about one
}

// ulid returns the 26 characters that stand for 16 bytes in the base 32 of
// Crockford, the first of them for 3 bits (github.com/ulid/spec).
func (n Nonce) ulid() string {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var out [26]byte
	var bits, held uint
	at := len(out)
	for i := len(n) - 1; i >= 0; i-- {
		bits |= uint(n[i]) << held
		for held += 8; held >= 5; held -= 5 {
			at--
			out[at] = digits[bits&31]
			bits >>= 5
		}
	}
	out[0] = digits[bits&31] // 3 bits are left
	return string(out[:])
}
