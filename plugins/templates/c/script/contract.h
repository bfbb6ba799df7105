/* The contract's own database, for what has no function in `holdfast_script.h`: leases, watches, transactions, HashKV. Only the component
 * has it; keep what uses it in a file that the tests leave out. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "bindings/script.h"
#include "holdfast_script.h"

holdfast_script_database_borrow_database_t hf_contract(hf_database *database);

#endif
