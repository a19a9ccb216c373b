package store

import (
	"encoding/hex"
	"strconv"

	"github.com/refreshd/refreshd/internal/credential"
)

// An open attempt is one line:
//
//	<nonce> <owner> <generation> <grant> <begun> <deadline> <doubt> <recover at> <first sent> <recovery>
//
// The begin script writes such lines as well. An empty line is no attempt.

func encodeAttempt(a credential.Attempt) ([]byte, error) {
	if err := checkName("owner", a.Owner); err != nil {
		return nil, err
	}
	b := hex.AppendEncode(make([]byte, 0, 160), a.Nonce[:])
	b = append(b, ' ')
	b = append(b, a.Owner...)
	b = strconv.AppendUint(append(b, ' '), a.Generation, 10)
	b = strconv.AppendUint(append(b, ' '), a.Grant, 10)
	b = strconv.AppendInt(append(b, ' '), int64(a.BegunAt), 10)
	b = strconv.AppendInt(append(b, ' '), int64(a.Deadline), 10)
	b = appendFlag(b, a.Doubt)
	b = strconv.AppendInt(append(b, ' '), int64(a.RecoverAt), 10)
	b = strconv.AppendInt(append(b, ' '), int64(a.FirstSent), 10)
	return appendFlag(b, a.Recovery), nil
}

func appendFlag(b []byte, v bool) []byte {
	if v {
		return append(b, " 1"...)
	}
	return append(b, " 0"...)
}

// decodeAttempt returns nil for an empty line.
func decodeAttempt(key, o string) (*credential.Attempt, error) {
	if o == "" {
		return nil, nil //nolint:nilnil // no attempt and no trouble
	}
	f := fields{rest: o}
	a := credential.Attempt{Nonce: f.nonce(), Owner: f.next(), Generation: f.uint(), Grant: f.uint()}
	a.BegunAt, a.Deadline, a.Doubt = f.millis(), f.millis(), f.bool()
	a.RecoverAt, a.FirstSent, a.Recovery = f.millis(), f.millis(), f.bool()
	if f.err == nil && (f.rest != "" || checkName("owner", a.Owner) != nil) {
		f.err = errHead
	}
	if f.err != nil {
		return nil, &CorruptError{Key: key, Field: "o", Err: f.err}
	}
	return &a, nil
}
