package practice

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// jsonDuration is a time.Duration that is a string such as "1.5s" in JSON.
type jsonDuration time.Duration

func (d jsonDuration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).String()), nil
}

func (d *jsonDuration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%w: a duration is a string such as \"1.5s\": %w", ErrInvalid, err)
	}
	*d = jsonDuration(v)
	return nil
}

// decodeStrict reads exactly one JSON value without unknown keys.
func decodeStrict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); errors.Is(err, ErrInvalid) {
		return err // said by an UnmarshalJSON that used this function
	} else if err != nil {
		return fmt.Errorf("%w: JSON: %w", ErrInvalid, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: JSON: something follows the value", ErrInvalid)
	}
	return nil
}
