package keyset

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/refreshd/refreshd/internal/seal"
)

// Info tells of one key what is no secret.
type Info struct {
	Use         string `json:"use"` // seal or hash
	ID          uint32 `json:"id"`
	Status      string `json:"status"` // primary, staged, old or disabled
	Fingerprint string `json:"fingerprint"`
	Needed      string `json:"needed,omitempty"` // what for, where that was found out
}

// Show lists the keys in the file.
func Show(path string) ([]Info, error) {
	k, _, err := seal.Open(path, seal.Options{MustExist: true})
	if err != nil {
		return nil, missing(err)
	}
	return infos(k.Keys()), nil
}

// The steps of a [Rotation].
const (
	StepNone    = string(seal.StepNone)    // keys are staged already
	StepStage   = string(seal.StepStage)   // new keys were added and are not used yet
	StepPromote = string(seal.StepPromote) // the staged keys are used from now on
	StepReplace = string(seal.StepReplace) // both
)

// Rotation is what [Rotate] did.
type Rotation struct {
	File string `json:"file"`
	Step string `json:"step"`
	Keys []Info `json:"keys"`
}

// Rotate brings the rotation of the file one step further: it stages new keys,
// or has those that are staged used. stage does only the first, now does both
// at once.
func Rotate(path string, stage, now bool) (Rotation, error) {
	step, keys, err := seal.Rotate(path, seal.RotateOptions{Stage: stage, Now: now, At: time.Now()})
	if err != nil {
		if early, ok := errors.AsType[*seal.TooSoonError](err); ok {
			return Rotation{}, fmt.Errorf("%w, or with --now if no process runs, or all have logged that the keyset was loaded again", early)
		}
		return Rotation{}, missing(err)
	}
	return Rotation{File: path, Step: string(step), Keys: infos(keys)}, nil
}

// missing says what to do where there is no file.
func missing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("keyset: %w; the first start of the service makes it. Name the service's own file with --config, or REFRESHD_KEYSET_FILE as in its environment", err)
	}
	return fmt.Errorf("keyset: %w", err)
}

func infos(keys []seal.Key) []Info {
	list := make([]Info, len(keys))
	for i, key := range keys {
		list[i] = Info{Use: "seal", ID: key.ID, Status: "old", Fingerprint: key.Fingerprint}
		if key.Use == seal.UseHash {
			list[i].Use = "hash"
		}
		switch {
		case !key.Enabled:
			list[i].Status = "disabled"
		case key.Primary:
			list[i].Status = "primary"
		case key.Staged:
			list[i].Status = "staged"
		}
	}
	return list
}
