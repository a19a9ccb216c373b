package credential

import "time"

const (
	// learnFrom is how many tokens in a row have to be refused before their
	// time until a shorter life is assumed: one can be withdrawn.
	learnFrom = 2
	// leastLearned is the shortest life that is learned: a resource that refuses
	// everything must not lead to a refresh each second.
	leastLearned = time.Minute
)

// Learned is what a credential's tokens taught of their true life, where the
// resource refuses them before the time that the provider told.
type Learned struct {
	Early int           // tokens in a row that were refused before their time
	Age   time.Duration // the oldest that one of those got
	Life  time.Duration // assumed since; 0: as told
}

// refused counts a token that was refused at an age, before its time.
func (l *Learned) refused(age time.Duration) {
	l.Early++
	l.Age = max(l.Age, age)
	if l.Early < learnFrom {
		return
	}
	life := max(l.Age, leastLearned)
	if l.Life > 0 {
		life = min(life, l.Life)
	}
	*l = Learned{Life: life}
}

// outlasted notes that a token was good for as long as it was needed.
func (l *Learned) outlasted() { l.Early, l.Age = 0, 0 }

// of returns the life to assume of a token that is told to live that long.
func (l *Learned) of(told time.Duration) time.Duration {
	if l.Life > 0 {
		return min(told, l.Life)
	}
	return told
}
