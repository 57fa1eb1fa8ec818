#include "src/vcpu.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include "src/base/banned.h"
#include "src/base/util.h"

struct vcpu {
    struct vm *vm;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    unsigned pauses;
    bool inside; /* in vm_run */
    bool ended;  /* the guest came to an end: nothing to run */
    bool quit;
    void (*on_end)(void *opaque, const struct vcpu_end *end);
    void *opaque;
};

static void note_end(struct vcpu *v, enum vm_stop stop, const struct err *err)
{
    struct vcpu_end end = {.stop = stop, .err = *err};

    if (stop == VM_STOP_EXIT)
        end.exit_code = vm_exit_code(v->vm);
    v->on_end(v->opaque, &end);
}

static void *vcpu_main(void *opaque)
{
    struct vcpu *v = opaque;
    struct err err = {0};

    if (vm_thread_init(v->vm, &err) < 0) {
        pthread_mutex_lock(&v->lock);
        v->ended = true;
        pthread_mutex_unlock(&v->lock);
        note_end(v, VM_STOP_FAIL, &err);
    }
    pthread_mutex_lock(&v->lock);
    while (!v->quit) {
        enum vm_stop stop;

        if (v->pauses || v->ended) {
            pthread_cond_wait(&v->change, &v->lock);
            continue;
        }
        v->inside = true;
        pthread_mutex_unlock(&v->lock);
        err = (struct err){0};
        stop = vm_run(v->vm, &err);
        pthread_mutex_lock(&v->lock);
        v->inside = false;
        v->ended = stop != VM_STOP_KICK;
        pthread_cond_broadcast(&v->change);
        if (v->ended) {
            pthread_mutex_unlock(&v->lock);
            note_end(v, stop, &err);
            pthread_mutex_lock(&v->lock);
        }
    }
    pthread_mutex_unlock(&v->lock);
    return NULL;
}

int vcpu_new(struct vm *vm, void (*ended)(void *opaque, const struct vcpu_end *end), void *opaque,
             struct vcpu **ret_vcpu, struct err *e)
{
    struct vcpu *v = calloc(1, sizeof *v);
    sigset_t all, old;
    int rc;

    if (!v)
        return err_set(e, VT_FAIL, "out of memory");
    v->vm = vm;
    v->on_end = ended;
    v->opaque = opaque;
    v->pauses = 1;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->change, NULL);
    sigfillset(&all); /* the thread starts with all blocked; vm_thread_init opens what translated code needs */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&v->thread, NULL, vcpu_main, v);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc) {
        free(v);
        return err_set(e, VT_FAIL, "cannot start the vCPU thread: %s", strerror(rc));
    }
    pthread_setname_np(v->thread, "vcpu");
    *ret_vcpu = v;
    return 0;
}

void vcpu_free(struct vcpu *v)
{
    if (!v)
        return;
    pthread_mutex_lock(&v->lock);
    v->quit = true;
    if (v->inside)
        vm_kick(v->vm);
    pthread_cond_broadcast(&v->change);
    pthread_mutex_unlock(&v->lock);
    pthread_join(v->thread, NULL);
    pthread_cond_destroy(&v->change);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

/* `inside` is set under the lock before vm_run, and a kick is sticky, so one kick per stay inside always ends it. */
void vcpu_pause(struct vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    v->pauses++;
    if (v->inside)
        vm_kick(v->vm);
    while (v->inside)
        pthread_cond_wait(&v->change, &v->lock);
    pthread_mutex_unlock(&v->lock);
}

void vcpu_resume(struct vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    vt_assert(v->pauses > 0);
    v->pauses--;
    pthread_cond_broadcast(&v->change);
    pthread_mutex_unlock(&v->lock);
}

void vcpu_restart(struct vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    vt_assert(v->pauses > 0 && !v->inside);
    v->ended = false;
    pthread_mutex_unlock(&v->lock);
}

void vcpu_halt(struct vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    vt_assert(v->pauses > 0 && !v->inside);
    v->ended = true;
    pthread_mutex_unlock(&v->lock);
}
