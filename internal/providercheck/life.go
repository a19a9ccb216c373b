package providercheck

import (
	"fmt"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// Access tokens live for minutes or hours. A life outside of these is mostly one
// that was read a thousand times too short or too long.
const (
	leastLife = 30 * time.Second
	mostLife  = 30 * 24 * time.Hour
)

// life says whether the life of a token that was just issued looks as if it was
// told in another unit than it was read in.
func (r *run) life(check Check, o credential.Outcome) {
	life := o.ExpiresIn
	if life == 0 {
		return
	}
	section := sectionOf(check)
	if check == CheckReply {
		section = "login"
	}
	where := section + ".response.expires_in"
	if r.Client {
		where = "expires_in"
	}
	switch {
	case life < leastLife:
		r.add(check, Warn, fmt.Sprintf("the token lives %s, as it is read: looks like seconds read as milliseconds (%s is likelier)", life, spoken(1000*life)),
			"set unit: s for "+where+" if the provider tells seconds; else it is called every few moments")
	case life > mostLife:
		r.add(check, Warn, fmt.Sprintf("the token lives %s, as it is read: looks like milliseconds read as seconds (%s is likelier)", spoken(life), spoken(life/1000)),
			"set unit: ms for "+where+" if the provider tells milliseconds; else the token is taken to live when it is long dead")
	}
}

// spoken writes a time so that its size is seen.
func spoken(d time.Duration) string {
	if d < leastLife {
		return d.String()
	}
	if days := d / (24 * time.Hour); days >= 2 {
		return fmt.Sprintf("%d days", days)
	}
	return d.Round(time.Second).String()
}
