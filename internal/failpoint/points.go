package failpoint

// A Point is a place in the program. Its text is "group.place".
type Point string

// The points, in the order in which a refresh passes them, then what surrounds
// a refresh. "Before" is the last moment at which nothing was done yet; the
// past forms stand right after what they name, before anyone was told.
const (
	// BeginBefore: permits are held, no attempt is open.
	BeginBefore Point = "begin.before"
	// BeginAnswered: the attempts are open in the store, this process has just
	// heard of them.
	BeginAnswered Point = "begin.answered"

	// IntentBefore: the attempt is open, the journal does not know of it.
	IntentBefore Point = "intent.before"
	// IntentNoted: the intent is synced, nothing was sent.
	IntentNoted Point = "intent.noted"

	// SendBefore: the exchange is prepared, nothing was sent.
	SendBefore Point = "send.before"
	// SendAnswered: the exchange has returned.
	SendAnswered Point = "send.answered"

	// KeepBefore: a token was found in the reply, the journal does not hold it.
	KeepBefore Point = "keep.before"
	// KeepNoted: the token is synced to the journal.
	KeepNoted Point = "keep.noted"

	// EndedBefore: the provider called the grant dead, the journal does not know.
	EndedBefore Point = "ended.before"
	// EndedNoted: that is synced to the journal, the store does not know.
	EndedNoted Point = "ended.noted"

	// CommitBefore: the token is in the journal, the store does not know of it.
	CommitBefore Point = "commit.before"
	// CommitStored: the store has it, nobody was told.
	CommitStored Point = "commit.stored"

	// ReleaseBefore: the loss window is over, the journal's record is there.
	ReleaseBefore Point = "release.before"
	// ReleaseDropped: the journal's record is gone.
	ReleaseDropped Point = "release.dropped"
	// PermitReturn: the exchange is over, its permits are still held.
	PermitReturn Point = "permit.return"

	// AdoptFound: the journal of a dead owner is locked and was not replayed.
	AdoptFound Point = "adopt.found"
	// ReplayChange: before a noted change of an owner is written to the store.
	ReplayChange Point = "replay.change"
	// ReplayKept: before a token that a journal holds is written to the store.
	ReplayKept Point = "replay.kept"
	// ReplayAttempt: before an attempt of a dead owner is closed or marked.
	ReplayAttempt Point = "replay.attempt"
	// ReplayRemove: all is in the store, the dead owner's journal is there.
	ReplayRemove Point = "replay.remove"
	// RestoreBefore: before a write is put back after a loss.
	RestoreBefore Point = "restore.before"
	// RestoreWrite: after each write that was put back.
	RestoreWrite Point = "restore.write"

	// BarrierReport: everything was put back, the others do not know.
	BarrierReport Point = "barrier.report"
	// BarrierOpen: all have reported, this process does not begin yet.
	BarrierOpen Point = "barrier.open"

	// OwnerNoted: a put, logout or delete is in the journal alone.
	OwnerNoted Point = "owner.noted"
	// OwnerStored: it is in the store, the caller was not told.
	OwnerStored Point = "owner.stored"

	// DoubtBefore: before an attempt is marked as in doubt.
	DoubtBefore Point = "doubt.before"
	// RecoverBefore: before a doubt is taken over.
	RecoverBefore Point = "recover.before"
	// LateKept: a reply came when its attempt was already another's.
	LateKept Point = "late.kept"

	// JournalCreated: the file is made and durable, and has not its name yet.
	JournalCreated Point = "journal.created"
	// JournalAllocate: before room for a reply is reserved on the disk.
	JournalAllocate Point = "journal.allocate"
	// JournalWrite: before a group of records is written.
	JournalWrite Point = "journal.write"
	// JournalWritten: the records are written and not synced.
	JournalWritten Point = "journal.written"
	// JournalSynced: the records are synced, who wrote them was not told.
	JournalSynced Point = "journal.synced"
	// JournalDrop: before a record that is no longer needed is dropped.
	JournalDrop Point = "journal.drop"
	// JournalRewritten: the file is written anew and synced, the old one has the
	// name.
	JournalRewritten Point = "journal.rewritten"
	// JournalRenamed: the new file has the name, the folder is not synced.
	JournalRenamed Point = "journal.renamed"

	// StoreBegin: before the begin script is sent.
	StoreBegin Point = "store.begin"
	// StoreBegun: the begin script answered, its caller was not told.
	StoreBegun Point = "store.begun"
	// StoreApply: before the apply script is sent.
	StoreApply Point = "store.apply"
	// StoreApplied: the apply script answered, its caller was not told.
	StoreApplied Point = "store.applied"
	// StoreClaimed: due credentials are claimed, the dispatcher was not told.
	StoreClaimed Point = "store.claimed"
	// StoreBeat: before this owner's heartbeat.
	StoreBeat Point = "store.beat"

	// WireDialled: a new connection stands, nothing was written to it.
	WireDialled Point = "wire.dialled"
	// WireWrite: before a request is written, on a new connection or an old one.
	WireWrite Point = "wire.write"
	// WireWritten: the request is written, no byte of the reply was read.
	WireWritten Point = "wire.written"
	// WireHeaders: the reply's header was read, its body was not.
	WireHeaders Point = "wire.headers"

	// DispatchEnqueue: credentials are claimed, their task is not in the queue.
	DispatchEnqueue Point = "dispatch.enqueue"
	// DispatchEnqueued: the task is in the queue, the dispatcher was not told.
	DispatchEnqueued Point = "dispatch.enqueued"
	// DispatchSlot: a fetch task is in the queue, its slot is not saved.
	DispatchSlot Point = "dispatch.slot"

	// TaskReceived: a worker has the task and has done nothing.
	TaskReceived Point = "task.received"
	// TaskDone: the task's work is done, the queue was not told.
	TaskDone Point = "task.done"
	// TaskSlot: a sweep has its slot, the worker was not told.
	TaskSlot Point = "task.slot"
	// TaskPage: a page of a sweep is done, its cursor is not saved.
	TaskPage Point = "task.page"
	// TaskFinish: a sweep is over, its slot was not told.
	TaskFinish Point = "task.finish"

	// EventRead: entries of the event log were read, nobody has them.
	EventRead Point = "event.read"
	// EventTrim: before old entries of the event log are trimmed.
	EventTrim Point = "event.trim"

	// DeliveryNotified: a lane was told of news, no task will look after it.
	DeliveryNotified Point = "delivery.notified"
	// DeliveryTaken: the lane is taken, its taker was not told.
	DeliveryTaken Point = "delivery.taken"
	// DeliveryPost: before an event is posted.
	DeliveryPost Point = "delivery.post"
	// DeliveryPosted: the receiver has it, the lane's cursor has not moved.
	DeliveryPosted Point = "delivery.posted"
	// DeliveryAdvanced: the cursor has moved past it.
	DeliveryAdvanced Point = "delivery.advanced"
	// DeliveryDone: everything is delivered, the lane is not yet given back.
	DeliveryDone Point = "delivery.done"
	// DeliveryFailed: the receiver did not take it, the store does not know.
	DeliveryFailed Point = "delivery.failed"

	// ClockBoot: the boot-time clock, for [Offset].
	ClockBoot Point = "clock.boot"
	// ClockWall: the wall clock, for [Offset].
	ClockWall Point = "clock.wall"
)

// All returns every point.
func All() []Point {
	return []Point{
		BeginBefore, BeginAnswered,
		IntentBefore, IntentNoted,
		SendBefore, SendAnswered,
		KeepBefore, KeepNoted,
		EndedBefore, EndedNoted,
		CommitBefore, CommitStored,
		ReleaseBefore, ReleaseDropped, PermitReturn,
		AdoptFound, ReplayChange, ReplayKept, ReplayAttempt, ReplayRemove,
		RestoreBefore, RestoreWrite,
		BarrierReport, BarrierOpen,
		OwnerNoted, OwnerStored,
		DoubtBefore, RecoverBefore, LateKept,
		JournalCreated, JournalAllocate, JournalWrite, JournalWritten, JournalSynced,
		JournalDrop, JournalRewritten, JournalRenamed,
		StoreBegin, StoreBegun, StoreApply, StoreApplied, StoreClaimed, StoreBeat,
		WireDialled, WireWrite, WireWritten, WireHeaders,
		DispatchEnqueue, DispatchEnqueued, DispatchSlot,
		TaskReceived, TaskDone, TaskSlot, TaskPage, TaskFinish,
		EventRead, EventTrim,
		DeliveryNotified, DeliveryTaken, DeliveryPost, DeliveryPosted, DeliveryAdvanced, DeliveryDone, DeliveryFailed,
		ClockBoot, ClockWall,
	}
}
