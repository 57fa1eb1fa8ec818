/* Names of registers, their bits, exception vectors (Intel SDM vol. 3, chapters 2, 4 and 6), and a block's mode bits.
 */
#ifndef VT_CPU_REGS_H
#define VT_CPU_REGS_H

enum { R_EAX, R_ECX, R_EDX, R_EBX, R_ESP, R_EBP, R_ESI, R_EDI };
enum { S_ES, S_CS, S_SS, S_DS, S_FS, S_GS, S_LDTR, S_TR };

/* Arithmetic flags as a mask in liveness; the order is EFLAGS's. */
enum { FL_CF = 1, FL_PF = 2, FL_AF = 4, FL_ZF = 8, FL_SF = 16, FL_OF = 32, FL_ALL = 63 };

#define EF_CF    0x1u
#define EF_PF    0x4u
#define EF_AF    0x10u
#define EF_ZF    0x40u
#define EF_SF    0x80u
#define EF_TF    0x100u
#define EF_IF    0x200u
#define EF_DF    0x400u
#define EF_OF    0x800u
#define EF_IOPL  0x3000u
#define EF_NT    0x4000u
#define EF_RF    0x10000u
#define EF_VM    0x20000u
#define EF_AC    0x40000u
#define EF_VIF   0x80000u
#define EF_VIP   0x100000u
#define EF_ID    0x200000u
#define EF_ARITH (EF_CF | EF_PF | EF_AF | EF_ZF | EF_SF | EF_OF)

#define CR0_PE         0x1u
#define CR0_MP         0x2u
#define CR0_EM         0x4u
#define CR0_TS         0x8u
#define CR0_ET         0x10u
#define CR0_NE         0x20u
#define CR0_WP         0x10000u
#define CR0_AM         0x40000u
#define CR0_NW         0x20000000u
#define CR0_CD         0x40000000u
#define CR0_PG         0x80000000u
#define CR4_VME        0x1u
#define CR4_PVI        0x2u
#define CR4_TSD        0x4u
#define CR4_DE         0x8u
#define CR4_PSE        0x10u
#define CR4_PAE        0x20u
#define CR4_MCE        0x40u
#define CR4_PGE        0x80u
#define CR4_PCE        0x100u
#define CR4_OSFXSR     0x200u
#define CR4_OSXMMEXCPT 0x400u
#define CR4_UMIP       0x800u
#define CR4_SMEP       0x100000u
#define DEBUGCTL_LBR   0x1u
#define DEBUGCTL_BTF   0x2u
#define DEBUGCTL_BITS  0x3fu
#define EFER_SCE       0x1u
#define EFER_LME       0x100u
#define EFER_LMA       0x400u
#define EFER_NXE       0x800u
#define EFER_FFXSR     0x4000u
#define EFER_AUTOIBRS  0x200000u
#define CR4_FSGSBASE   0x10000u
#define CR4_PCIDE      0x20000u
#define CR4_OSXSAVE    0x40000u
#define CR4_SMAP       0x200000u
#define XCR0_X87       1u
#define XCR0_SSE       2u
#define XCR0_AVX       4u
#define CR3_PCID       0xfffu /* under CR4.PCIDE */
#define CR3_NOFLUSH    (1ull << 63)

enum {
    X_DE,
    X_DB,
    X_NMI,
    X_BP,
    X_OF,
    X_BR,
    X_UD,
    X_NM,
    X_DF,
    X_TS = 10,
    X_NP,
    X_SS,
    X_GP,
    X_PF,
    X_MF = 16,
    X_AC,
    X_MC,
    X_XM
};

/* Mode bits: part of a block's key. What is not in here must not change how a block is translated. */
enum {
    M_CPL = 3,
    M_CODE32 = 1 << 2,
    M_STACK32 = 1 << 3,
    M_CS_FLAT = 1 << 4,
    M_DS_FLAT = 1 << 5,
    M_ES_FLAT = 1 << 6,
    M_SS_FLAT = 1 << 7,
    M_DF = 1 << 8,
    M_MP = 1 << 9, /* CR0.MP: FWAIT obeys TS */
    M_EM = 1 << 10,
    M_NOSSE = 1 << 11, /* CR4.OSFXSR clear */
    M_STEP = 1 << 12,  /* one instruction a block, exact flags */
    M_TS = 1 << 13,
    M_AC = 1 << 15,      /* alignment is checked: ring 3, EFLAGS.AC, CR0.AM */
    M_CODE64 = 1 << 14,  /* with M_CODE32, M_STACK32 and the flat bits set */
    M_AVX = 1 << 16,     /* CR4.OSXSAVE, and XCR0 has SSE and AVX */
    M_REAL = 1 << 17,    /* real or virtual-8086 mode: no VEX */
    M_SMAP = 1 << 18,    /* CR4.SMAP: users' pages are barred for the supervisor */
    M_LIFT = 1 << 19,    /* but not now: EFLAGS.AC, in a ring below 3 */
    M_PLAIN = 1 << 21,   /* a block's: see span.c */
    M_CS_PAGE = 1 << 20, /* a block's: see cpu_block_mode() */
};

#endif
